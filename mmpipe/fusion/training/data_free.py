"""The data-free recipe: made-up pictures, questions from templates."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch
from mmpipe.fusion.training.packing import Pack
from mmpipe.fusion.training.questions import Subject
from mmpipe.fusion.training.several import MOST, GroupExaminer, Seen
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
        *,
        several: float = 0.0,
    ) -> None:
        """``grid``: (height, width) of the spatial features, which are the pooled ones at every place. ``several``:
        the share of rows that are of two or three pictures.

        Raises:
            InputError: there are so few labels that there is always one in the pictures.
        """
        if len(subjects) <= MOST:
            raise InputError(f"The data-free recipe wants more than {MOST} classes; the encoder has {len(subjects)}.")
        self.simulator = Simulator(weight, bias)
        self.examiner = GroupExaminer(subjects, self.simulator.near.tolist())
        self.grid, self.seed, self.questions, self.several = grid, seed, questions_per_row, several
        self._validation = self._packs(f"{seed}/validation", _VALIDATION_PICTURES)

    def batch(self, step: int, pictures: int) -> Sequence[Pack]:
        return self._packs(f"{self.seed}/{step}", pictures)

    def validation(self) -> Sequence[Pack]:
        return self._validation

    def _packs(self, seed: str, rows: int) -> list[Pack]:
        random = Random(seed)  # noqa: S311
        sizes = [random.randint(2, MOST) if random.random() < self.several else 1 for _ in range(rows)]
        drawn = self.simulator.draw(sum(sizes), torch.Generator().manual_seed(random.getrandbits(63)))
        probabilities = (1.3 * drawn.logits).softmax(-1).numpy()
        packs, start = [], 0
        for size in sizes:
            own = slice(start, start + size)
            start += size
            pooled = drawn.pooled[own]
            spatial = pooled[:, :, None, None].expand(-1, -1, *self.grid)
            seen = [Seen(*one) for one in zip(probabilities[own], drawn.truth[own].tolist(), strict=True)]
            pairs = self._ask(seen, random)[: self.questions]
            packs.append(Pack(FeatureBatch(pooled, spatial, drawn.logits[own]), pairs))
        return packs

    def _ask(self, seen: Sequence[Seen], random: Random) -> list[tuple[str, str]]:
        if len(seen) > 1:
            return self.examiner.ask_of_several(seen, random)
        return self.examiner.ask(seen[0].probabilities, seen[0].truth, random)
