"""Choosing the next token, each row by its own rules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmpipe.errors import InputError

#: How many of the likeliest tokens are looked at for ``top_p`` before all 50,000 are sorted; they nearly always do.
_NUCLEUS_GUESS = 256


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How to choose tokens. By default always the likeliest.

    ``temperature``: 0 is greedy. ``top_k``: only among so many likeliest; 0: all. ``top_p``: only among the likeliest
    that together have this probability (Holtzman et al. 2020, arXiv:1904.09751). ``repetition_penalty``: above 1 makes
    tokens that the answer already has less likely (Keskar et al. 2019, arXiv:1909.05858). ``seed``: the same seed, the
    same answer, whatever else is being answered; None: another one each time.

    Raises:
        InputError: a value outside its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; it must be 0 or more.")
        if self.top_k < 0:
            raise InputError(f"top_k is {self.top_k}; it must be 0 or more.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(f"repetition_penalty is {self.repetition_penalty}; it must be above 0.")

    @property
    def plain(self) -> bool:
        """The likeliest token is all it takes."""
        return self.temperature == 0 and self.repetition_penalty == 1


class Sampler:
    """The choices of one answer."""

    def __init__(self, options: SamplingOptions) -> None:
        self._options = options
        self._random = torch.Generator()
        if options.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(options.seed)

    def choose(self, logits: Tensor, said: Iterable[int]) -> int:
        """``logits``: float32 (vocabulary,), on the CPU; -inf is never chosen. ``said``: the answer so far."""
        options = self._options
        if options.repetition_penalty != 1:
            logits = _penalise(logits, said, options.repetition_penalty)
        if options.temperature == 0:
            return int(logits.argmax())
        values, ids = _nucleus(logits / options.temperature, options.top_k, options.top_p)
        return int(ids[torch.multinomial(values.softmax(-1), 1, generator=self._random)])


def _penalise(logits: Tensor, said: Iterable[int], penalty: float) -> Tensor:
    ids = torch.tensor(sorted(set(said)), dtype=torch.long)
    found = logits[ids]
    return logits.index_copy(0, ids, torch.where(found > 0, found / penalty, found * penalty))


def _nucleus(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor]:
    """The logits and ids that ``top_k`` and then ``top_p`` leave, the likeliest first if any are left out."""
    ids = torch.arange(len(logits))
    if 0 < top_k < len(logits):
        logits, ids = logits.topk(top_k)
    if top_p == 1:
        return logits, ids
    total = logits.logsumexp(-1)
    for count in (min(_NUCLEUS_GUESS, len(logits)), len(logits)):
        likeliest, order = logits.topk(count)
        before = (likeliest - total).exp().cumsum(-1).roll(1)
        before[0] = 0.0
        keep = int((before < top_p).sum())
        if keep < count:
            break
    return likeliest[:keep], ids[order[:keep]]
