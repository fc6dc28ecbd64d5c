"""Prefix: a projector makes tokens of the features, which stand where the placeholders stood.

LLaVA's way (Liu et al. 2023, arXiv:2304.08485; the two-layer projector is of arXiv:2310.03744).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch, Shapes, Strategy, mlp


class Prefix(Strategy):
    """``grid`` 0: ``tokens`` tokens from the pooled features. Otherwise the spatial features are averaged to ``grid``
    by ``grid`` places, and each becomes one token with the place learned. ``hidden``: of the projector."""

    name = "prefix"

    def __init__(self, shapes: Shapes, *, tokens: int = 4, grid: int = 0, hidden: int = 0) -> None:
        super().__init__(shapes)
        if min(shapes.spatial[1:]) < grid:
            across = " by ".join(map(str, shapes.spatial[1:]))
            raise InputError(f"prefix: grid is {grid}, but the encoder gives {across} places. Lower it.")
        self.tokens, self.grid, self.hidden = tokens, grid, hidden
        self.n_tokens = grid * grid if grid else tokens
        made = 1 if grid else tokens
        channels = shapes.spatial[0] if grid else shapes.channels
        self.norm = nn.LayerNorm(channels)
        self.project = mlp(channels, hidden or 2 * shapes.hidden_size, made * shapes.hidden_size)
        self.place_in_picture = nn.Parameter(0.02 * torch.randn(self.n_tokens, shapes.hidden_size))

    @property
    def settings(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "grid": self.grid, "hidden": self.hidden}

    def forward(self, features: FeatureBatch) -> Tensor:
        if self.grid:
            places = nn.functional.adaptive_avg_pool2d(features.spatial, self.grid).flatten(2).transpose(1, 2)
        else:
            places = features.pooled.unsqueeze(1)
        tokens: Tensor = self.project(self.norm(places)).reshape(len(places), self.n_tokens, -1)
        return tokens + self.place_in_picture
