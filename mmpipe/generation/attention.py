"""Attention over packed tokens: one forward pass for sequences that do different things.

A pass of the language model sees the tokens of all sequences behind each other, (1, t, hidden): the newest token of
each sequence that is being answered, and chunks of prompts that are being read. Everything but attention works on
tokens, so nearly no pass computes padding, and the matrix products are as large as they can be. Only attention must
know which token belongs to whom, and gets a :class:`Packed` to tell. This is how vLLM and TGI run; transformers lets
one register such a function under a name and hands it the keyword arguments of the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from mmpipe.generation.kv_cache import KVBlock, PromptCache

NAME = "mmpipe_packed"


@dataclass(slots=True)
class Trace:
    """Collects where the token at ``token`` of the pass looks: one tensor (keys,) a layer, mean over the heads."""

    token: int
    data: Tensor  # (layers, 2, heads, keys, head_dim), a view
    layers: list[Tensor] = field(default_factory=list)


class DecodeBatch:
    """The newest tokens of all sequences of a block, at ``start`` of the pass."""

    def __init__(self, block: KVBlock, start: int, dtype: torch.dtype) -> None:
        lengths = [slot.length for slot in block.slots]
        device = block.data.device
        self.block, self.start, self.stop = block, start, start + len(lengths)
        self._keys = max(lengths) + 1
        self._sequences = torch.arange(len(lengths), device=device)
        self._at = torch.tensor(lengths, device=device)
        self._bias: Tensor | None = None
        if min(lengths) + 1 < self._keys:
            hidden = torch.arange(self._keys, device=device) > self._at[:, None]
            self._bias = _bias(hidden, dtype)[:, None, None, :]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """``query``: (heads, n, head_dim); gives (n, heads, head_dim)."""
        data = self.block.data[layer]
        n, kv_heads = len(self._sequences), key.shape[0]
        data[:, self._sequences, :, self._at] = torch.stack((key, value)).permute(2, 0, 1, 3)
        # The heads that share keys stand in for positions, which one sequence has only one of: nothing is repeated.
        grouped = query.transpose(0, 1).reshape(n, kv_heads, -1, query.shape[-1])
        keys, values = data[:, :n, :, : self._keys]
        out = scaled_dot_product_attention(grouped, keys, values, attn_mask=self._bias, scale=scaling)
        return out.reshape(n, -1, out.shape[-1])


class PrefillChunk:
    """A chunk of one prompt, ``start`` to ``stop`` of the pass, written behind what its cache holds.

    ``sees``: bool (c, c), which of the chunk's own tokens each of them sees; causal if None.
    """

    def __init__(
        self, prompt: PromptCache, start: int, stop: int, dtype: torch.dtype, sees: Tensor | None = None
    ) -> None:
        self.prompt, self.start, self.stop = prompt, start, stop
        self._before = prompt.length
        c = stop - start
        self._causal = sees is None and self._before == 0
        self._bias: Tensor | None = None
        if not self._causal and c > 1:
            own = torch.ones(c, c, dtype=torch.bool).tril() if sees is None else sees
            hidden = torch.cat((torch.zeros(c, self._before, dtype=torch.bool), ~own), dim=1)
            self._bias = _bias(hidden.to(prompt.data.device), dtype)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """``query``: (heads, c, head_dim); gives (c, heads, head_dim)."""
        data = self.prompt.data[layer]
        after = self._before + self.stop - self.start
        data[:, :, self._before : after] = torch.stack((key, value))
        keys, values = data[:, None, :, :after]
        out = scaled_dot_product_attention(
            query[None], keys, values, attn_mask=self._bias, is_causal=self._causal, scale=scaling, enable_gqa=True
        )
        return out[0].transpose(0, 1)


@dataclass(frozen=True, slots=True)
class Packed:
    """Whose tokens stand where in a forward pass."""

    parts: list[DecodeBatch | PrefillChunk]
    traces: list[Trace]


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Packed | None = None,
    scaling: float = 1.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer: ``query`` (1, heads, t, head_dim); gives (1, t, heads, head_dim).

    Without ``packed``, when somebody else runs the model, it is transformers' own attention.
    """
    if packed is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    layer = module.layer_idx
    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    for part in packed.parts:
        mine = slice(part.start, part.stop)
        out[mine] = part.attend(layer, query[0, :, mine], key[0, :, mine], value[0, :, mine], scaling)
    out[packed.parts[-1].stop :] = 0  # rows that only pad the pass
    for trace in packed.traces:
        keys = trace.data[layer, 0]
        grouped = query[0, :, trace.token].reshape(keys.shape[0], -1, keys.shape[-1])
        trace.layers.append((scaling * grouped @ keys.transpose(1, 2)).float().softmax(-1).mean((0, 1)))
    return out[None], None


def install(model: Any) -> None:
    """Have ``model`` attend by :func:`packed_attention`. It goes on working for whoever else runs it."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _bias(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: made once a pass, as torch would make it of a boolean mask in every layer."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)
