"""A language model small enough to be made anew in every test: random weights, a token for each byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmpipe.extras import require


def tiny_tokenizer(special: Sequence[str]) -> Any:
    """Bytes are ids 0..255, in the order of the byte-level alphabet; ``special`` tokens follow."""
    tokenizers = require("tokenizers", "qa", "A tokenizer")
    transformers = require("transformers", "qa", "A language model")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={character: at for at, character in enumerate(alphabet)}, merges=[])
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend)


def tiny_model(tokenizer: Any, seed: int, hidden_size: int, layers: int, context_tokens: int) -> Any:
    """A Llama of random weights that drives ``tokenizer``, two query heads to each key head."""
    torch = require("torch", "qa", "A language model")
    transformers = require("transformers", "qa", "A language model")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_tokens,
        initializer_range=0.3,  # ten times the usual: answers differ between prompts
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not disturbed
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(config)
