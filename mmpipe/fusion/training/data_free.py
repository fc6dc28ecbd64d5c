"""The data-free recipe: made-up pictures, questions from templates."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch
from mmpipe.fusion.training.multi_image_questions import MOST, MultiImageQuestionGenerator, Seen
from mmpipe.fusion.training.packing import Pack, Turn
from mmpipe.fusion.training.questions import Subject
from mmpipe.fusion.training.simulate import Simulator

_VALIDATION_ROWS = 48
_SORTS = ("one", "several", "turns")
#: How often there was a question about the same pictures before, where there may have been.
_SAID_BEFORE = 0.4


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
        turns: float = 0.0,
    ) -> None:
        """``grid``: (height, width) of the spatial features, which are the pooled ones at every place. ``several``:
        the share of rows that are of two or three pictures; ``turns``: of those that go on with a conversation.

        Raises:
            InputError: there are no more classes than pictures in a row, so that it may be that none is absent.
        """
        if len(subjects) <= MOST:
            raise InputError(f"The data-free recipe wants more than {MOST} classes; the encoder has {len(subjects)}.")
        self.simulator = Simulator(weight, bias)
        self.examiner = MultiImageQuestionGenerator(subjects, self.simulator.near.tolist())
        self.grid, self.seed, self.questions, self.several, self.turns = grid, seed, questions_per_row, several, turns
        self._validation = self._packs(f"{seed}/validation", _VALIDATION_ROWS)

    def batch(self, step: int, pictures: int) -> Sequence[Pack]:
        return self._packs(f"{self.seed}/{step}", pictures)

    def validation(self) -> Sequence[Pack]:
        return self._validation

    def _packs(self, seed: str, rows: int) -> list[Pack]:
        random = Random(seed)  # noqa: S311
        sorts = [
            random.choices(_SORTS, (1 - self.several - self.turns, self.several, self.turns))[0] for _ in range(rows)
        ]
        least = {"several": 2, "turns": 1}
        sizes = [1 if sort == "one" else random.randint(least[sort], MOST) for sort in sorts]
        drawn = self.simulator.draw(sum(sizes), torch.Generator().manual_seed(random.getrandbits(63)))
        probabilities = (1.3 * drawn.logits).softmax(-1).numpy()
        packs, start = [], 0
        for sort, size in zip(sorts, sizes, strict=True):
            own = slice(start, start + size)
            start += size
            pooled = drawn.pooled[own]
            spatial = pooled[:, :, None, None].expand(-1, -1, *self.grid)
            seen = [Seen(*one) for one in zip(probabilities[own], drawn.truth[own].tolist(), strict=True)]
            pairs, history = self._asked(sort, seen, random)
            # Fewer questions after more pictures and turns: rows of a batch should be about as long.
            wanted = max(2, self.questions - 2 * (size - 1) - len(history))
            pairs = pairs[: self.questions] if sort == "one" else random.sample(pairs, min(wanted, len(pairs)))
            packs.append(Pack(FeatureBatch(pooled, spatial, drawn.logits[own]), pairs, history))
        return packs

    def _asked(self, sort: str, seen: Sequence[Seen], random: Random) -> tuple[list[tuple[str, str]], list[Turn]]:
        """Questions with answers, and what was said before them."""
        if sort == "one":
            return self.examiner.ask(seen[0].probabilities, seen[0].truth, random), []
        if sort == "several":
            again = random.random() < _SAID_BEFORE
            before = [Turn(len(seen), *random.choice(self.examiner.ask_of_several(seen, random)))] if again else []
            return self.examiner.ask_of_several(seen, random), before
        # One picture after the other, with a question or two; the last is there already, or is shown now.
        there, before = len(seen) == 1 or random.random() < _SAID_BEFORE, []
        for count in range(1, len(seen) + there):
            before.append(Turn(1, *random.choice(self.examiner.ask_of_last(seen[:count], random, new=True))))
            if random.random() < _SAID_BEFORE:
                before.append(Turn(0, *random.choice(self.examiner.ask_of_last(seen[:count], random, new=False))))
        return self.examiner.ask_of_last(seen, random, new=not there), before
