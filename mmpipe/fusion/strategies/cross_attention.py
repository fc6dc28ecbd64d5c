"""Cross-attention: layers inserted into the language model look at the picture; the prompt keeps one placeholder.

Flamingo's way (Alayrac et al. 2022, arXiv:2204.14198): before every few layers a block attends from the text to the
places of the picture, behind gates that start closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch, Shapes, Strategy


class CrossAttention(Strategy):
    """``every``: a block before each so-many-th layer of ``layers``, the language model's. ``grid``: places a side."""

    name = "cross_attention"
    attends = True
    n_tokens = 1

    def __init__(self, shapes: Shapes, *, layers: int, every: int = 6, heads: int = 4, grid: int = 3) -> None:
        super().__init__(shapes)
        if shapes.hidden_size % heads:
            raise InputError(f"cross_attention: {heads} heads do not divide the hidden size of {shapes.hidden_size}.")
        self.layers, self.every, self.heads, self.grid = layers, every, heads, grid
        self.norm = nn.LayerNorm(shapes.spatial[0])
        self.project = nn.Linear(shapes.spatial[0], shapes.hidden_size)
        self.place_in_picture = nn.Parameter(0.02 * torch.randn(grid * grid, shapes.hidden_size))
        before = range(every - 1, layers, every)
        self.blocks = nn.ModuleDict({str(layer): _Block(shapes.hidden_size, heads) for layer in before})
        self._seen: tuple[Tensor, Tensor] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return {"layers": self.layers, "every": self.every, "heads": self.heads, "grid": self.grid}

    def forward(self, features: FeatureBatch) -> Tensor:
        places = nn.functional.adaptive_avg_pool2d(features.spatial, self.grid).flatten(2).transpose(1, 2)
        projected: Tensor = self.project(self.norm(places))
        return projected + self.place_in_picture

    def place(self, embeds: Tensor, placeholders: Tensor, prompt: Tensor, encoded: Tensor) -> Tensor:
        return embeds  # the placeholder only tells where the picture is spoken of

    def attach(self, model: nn.Module) -> None:
        layers: Any = model.get_submodule("model.layers")
        if len(layers) != self.layers:
            raise InputError(f"cross_attention is set to {self.layers} layers; the language model has {len(layers)}.")
        for name, block in self.blocks.items():
            layers[int(name)].register_forward_pre_hook(self._hook(block), with_kwargs=True)

    def _hook(self, block: nn.Module) -> Any:
        def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self._seen is None:
                return None
            if args:
                return (block(args[0], *self._seen), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": block(kwargs["hidden_states"], *self._seen)}

        return look

    @contextmanager
    def attending(self, memory: Tensor, sees: Tensor) -> Iterator[None]:
        self._seen = memory, sees
        try:
            yield
        finally:
            self._seen = None


class _Block(nn.Module):
    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.RMSNorm(hidden_size)
        self.query, self.key_value = (
            nn.Linear(hidden_size, hidden_size, bias=False),
            nn.Linear(hidden_size, 2 * hidden_size, bias=False),
        )
        self.out = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor, memory: Tensor, sees: Tensor) -> Tensor:
        """``hidden``: (b, t, hidden). A token that sees no picture keeps what it was."""
        dtype, places = self.query.weight.dtype, memory.shape[1]
        flat = memory.reshape(1, -1, memory.shape[-1]).to(dtype).expand(len(hidden), -1, -1)
        queries = self._split(self.query(self.before(hidden.to(dtype))))
        keys, values = (self._split(part) for part in self.key_value(flat).chunk(2, -1))
        # A column that all may look at, and that holds nothing, keeps the softmax of those who see nothing finite.
        mask = nn.functional.pad(sees.repeat_interleave(places, -1), (1, 0), value=True).unsqueeze(1)
        keys, values = (nn.functional.pad(part, (0, 0, 1, 0)) for part in (keys, values))
        looked = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        looked = self.out(looked.transpose(1, 2).flatten(2)) * sees.any(-1, keepdim=True)
        added: Tensor = self.gate.tanh() * looked
        return hidden + added.to(hidden.dtype)

    def _split(self, part: Tensor) -> Tensor:
        return part.view(*part.shape[:-1], self.heads, -1).transpose(1, 2)
