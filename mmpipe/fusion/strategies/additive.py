"""Additive: the picture becomes one vector, which is added to every token of the prompt behind its placeholder.

It costs one token, as the vector alone cannot be pointed at: more pictures than one add up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmpipe.fusion.strategies.base import FeatureBatch, Shapes, Strategy, mlp


class Additive(Strategy):
    """``hidden``: size of the projector's middle layer. The gate opens from zero, so that training starts from the
    model as it is."""

    name = "additive"
    n_tokens = 1

    def __init__(self, shapes: Shapes, *, hidden: int = 0) -> None:
        super().__init__(shapes)
        self.hidden = hidden
        self.norm = nn.LayerNorm(shapes.channels)
        self.project = mlp(shapes.channels, hidden or 2 * shapes.hidden_size, shapes.hidden_size)
        self.gate = nn.Parameter(torch.full((shapes.hidden_size,), 0.01))

    @property
    def settings(self) -> dict[str, Any]:
        return {"hidden": self.hidden}

    def forward(self, features: FeatureBatch) -> Tensor:
        projected: Tensor = self.project(self.norm(features.pooled))
        return (self.gate * projected).unsqueeze(1)

    def place(self, embeds: Tensor, placeholders: Tensor, prompt: Tensor, encoded: Tensor) -> Tensor:
        rows = encoded.reshape(-1, encoded.shape[-1]).to(embeds.dtype)
        at_placeholders = torch.zeros_like(embeds).masked_scatter(placeholders.unsqueeze(-1), rows)
        return embeds + at_placeholders.cumsum(1) * prompt.unsqueeze(-1)
