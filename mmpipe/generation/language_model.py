"""The language model that embeddings are spliced into: weights, tokenizer and what the rest needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from mmpipe.errors import InputError, WeightsError
from mmpipe.extras import require
from mmpipe.generation.conversion import converted, quiet, sha256
from mmpipe.memory import bound_kernel_cache
from mmpipe.weights import fetch

torch = require("torch", "qa", "A language model")
transformers = require("transformers", "qa", "A language model")

DType = Literal["float32", "bfloat16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

#: Stands for one embedding of a picture or a sound in a prompt. Any token that no text produces would do; chat models
#: never saw this one, which marks the outputs of programs in SmolLM2's source code.
PLACEHOLDER = "<empty_output>"
#: ChatML, the turns of SmolLM2, Qwen and others: <|im_start|>role\ntext<|im_end|>\n
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where weights came from. ``digest``: SHA-256 of the file of weights, hexadecimal."""

    name: str
    digest: str


class LanguageModel:
    """A causal language model of transformers and its tokenizer. Immutable but for what training does to ``model``.

    ``model``: in eval mode, on ``device``. ``tokenizer``: text typed by people goes through :meth:`encode`, which
    lets no text become a special token.
    """

    def __init__(self, model: Any, tokenizer: Any, source: ModelSource) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.source = source
        missing = [token for token in (TURN_START, TURN_END, PLACEHOLDER) if token not in tokenizer.get_vocab()]
        if missing:
            raise InputError(
                f"The language model {source.name} does not know {', '.join(missing)}: mmpipe speaks to models in "
                "ChatML, as SmolLM2 was trained with. Use smollm2-135m or a larger SmolLM2."
            )

    @classmethod
    def load(cls, weights: str | Path = "smollm2-135m", *, dtype: DType = "float32", device: str = "cpu") -> Self:
        """Load by name, or from a folder or GGUF file. A second or two, but for the first time a GGUF file is met.

        ``weights``: as in :func:`mmpipe.weights.fetch`. ``device``: as torch names it.

        Raises:
            WeightsError: there are no such weights, or they cannot be read.
            InputError: an unknown dtype, or a model that does not fit.
        """
        if dtype not in DTYPES:
            raise InputError(f"Unknown dtype {dtype!r}. Known: {', '.join(DTYPES)}.")
        bound_kernel_cache()
        path = fetch(weights)
        ggufs = [path] if path.is_file() else sorted(path.glob("*.gguf"))
        folder = converted(ggufs[0]) if ggufs else path
        digest = sha256(ggufs[0] if ggufs else _weights_file(folder))
        try:
            with quiet():
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])
        except (OSError, ValueError) as error:
            raise WeightsError(f"The language model in {folder} cannot be loaded: {error}") from error
        return cls(model.to(device), tokenizer, ModelSource(str(weights), digest))

    @classmethod
    def tiny(cls, seed: int = 0, *, hidden_size: int = 32, layers: int = 2, context_tokens: int = 512) -> Self:
        """Random weights over single bytes, for tests: it says nothing sensible, and everything works on it."""
        from mmpipe.generation.tiny import tiny_model, tiny_tokenizer

        tokenizer = tiny_tokenizer((TURN_START, TURN_END, PLACEHOLDER))
        model = tiny_model(tokenizer, seed, hidden_size, layers, context_tokens)
        return cls(model, tokenizer, ModelSource(f"tiny-{hidden_size}x{layers}-{seed}", ""))

    @property
    def revision(self) -> str:
        """SHA-256 of the weights, for checkpoints that only fit these. Empty for :meth:`tiny`."""
        return self.source.digest

    @property
    def hidden_size(self) -> int:
        """Numbers in an embedding."""
        return int(self.model.config.hidden_size)

    @property
    def context_tokens(self) -> int:
        """How long a prompt and its answer may be together."""
        return int(self.model.config.max_position_embeddings)

    @property
    def device(self) -> Any:
        return self.model.device

    @property
    def dtype(self) -> Any:
        return self.model.dtype

    @cached_property
    def placeholder_id(self) -> int:
        """The token that stands for one embedding of a picture or a sound."""
        return int(self.tokenizer.convert_tokens_to_ids(PLACEHOLDER))

    @cached_property
    def turn_start_id(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(TURN_START))

    @cached_property
    def turn_end_id(self) -> int:
        """Ends every turn, and so every answer."""
        return int(self.tokenizer.convert_tokens_to_ids(TURN_END))

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` as it stands: "<|im_end|>" in it is five words, not the end of a turn."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def embed(self, ids: Any) -> Any:
        """Input embeddings (t, hidden) of token ids (t,), a sequence or an int64 tensor."""
        ids = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        return self.model.get_input_embeddings()(ids)


def _weights_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(f"{folder} should hold one .safetensors or .gguf file; it holds {len(files)}.")
    return files[0]
