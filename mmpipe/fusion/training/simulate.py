"""Pictures that nobody took: features of an image classifier, made up from its own last layer.

The row of a class in the last layer is the direction that the class's pictures share, so it can stand for them:
features = relu(noise + strength * (the class's centred unit row + some of other rows)). What the language model learns
to read from these it reads from real pictures too, as far as it goes by class probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEIGHBOURS = 12


@dataclass(frozen=True, slots=True)
class Pictures:
    """``pooled``: (n, c); ``logits``: (n, k); ``truth``: int64 (n,), what each is of."""

    pooled: Tensor
    logits: Tensor
    truth: Tensor


class Simulator:
    """``weight`` (k, c) and ``bias`` (k,): the classifier's last layer."""

    def __init__(self, weight: Tensor, bias: Tensor, *, noise: float = 0.3) -> None:
        self.weight, self.bias, self.noise = weight.float(), bias.float(), noise
        centred = self.weight - self.weight.mean(0)
        self.rows = torch.nn.functional.normalize(centred, dim=1)
        self.near = (self.rows @ self.rows.T).fill_diagonal_(-1).topk(min(_NEIGHBOURS, len(self.rows) - 1)).indices

    def draw(self, count: int, generator: torch.Generator) -> Pictures:
        """Clear ones, ones between two or three classes, and a tenth of which little can be said."""

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(count, 1, generator=generator) * (high - low) + low

        classes = len(self.rows)
        intended = torch.randint(classes, (count,), generator=generator)
        sort = torch.rand(count, 1, generator=generator)
        strength = torch.where(sort < 0.1, uniform(0.0, 2.0), uniform(2.5, 13.0))
        direction = self.rows[intended]
        for _ in range(2):
            anyone = torch.randint(classes, (count,), generator=generator)
            pick = torch.randint(self.near.shape[1], (count,), generator=generator)
            near = torch.rand(count, generator=generator) < 0.6
            other = torch.where(near, self.near[intended, pick], anyone)
            direction = direction + uniform(0.0, 1.0) * self.rows[other]
        noise = self.noise * torch.randn(direction.shape, generator=generator)
        pooled = torch.relu(noise + strength * direction)
        logits = pooled @ self.weight.T + self.bias
        # A classifier that is torn between classes is often wrong: what the picture is of is drawn by its own odds,
        # which are sharper than its softmax (it was trained on smoothed labels), less so for pictures unlike those it
        # was trained on.
        best = (uniform(0.8, 1.6) * logits).topk(min(5, classes))
        drawn = torch.multinomial(best.values.softmax(-1), 1, generator=generator)
        return Pictures(pooled, logits, best.indices.gather(1, drawn).squeeze(1))
