"""The data-free recipe: made-up pictures, questions from templates."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from mmpipe.fusion.strategies.base import FeatureBatch
from mmpipe.fusion.training.packing import Pack
from mmpipe.fusion.training.questions import Examiner, Subject
from mmpipe.fusion.training.simulate import Simulator

_VALIDATION_PICTURES = 48


class DataFree:
    """``weight`` (k, c), ``bias`` (k,): the encoder's classifier; ``subjects``: what its k labels stand for."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        subjects: Sequence[Subject],
        grid: tuple[int, int],
        seed: int = 0,
        questions_per_row: int = 8,
    ) -> None:
        """``grid``: (height, width) of the spatial features, which are the pooled ones at every place."""
        self.simulator = Simulator(weight, bias)
        self.examiner = Examiner(subjects, self.simulator.near.tolist())
        self.grid, self.seed, self.questions = grid, seed, questions_per_row
        self._validation = self._packs(f"{seed}/validation", _VALIDATION_PICTURES)

    def batch(self, step: int, pictures: int) -> Sequence[Pack]:
        return self._packs(f"{self.seed}/{step}", pictures)

    def validation(self) -> Sequence[Pack]:
        return self._validation

    def _packs(self, seed: str, count: int) -> list[Pack]:
        random = Random(seed)  # noqa: S311
        drawn = self.simulator.draw(count, torch.Generator().manual_seed(random.getrandbits(63)))
        probabilities = (1.3 * drawn.logits).softmax(-1).numpy()
        packs = []
        for row in range(count):
            pooled = drawn.pooled[row : row + 1]
            spatial = pooled[:, :, None, None].expand(-1, -1, *self.grid)
            pairs = self.examiner.ask(probabilities[row], int(drawn.truth[row]), random)[: self.questions]
            packs.append(Pack(FeatureBatch(pooled, spatial, drawn.logits[row : row + 1]), pairs))
        return packs
