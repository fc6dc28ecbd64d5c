"""What came of a case, and of all of them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Longer must nothing take that a stranger asks for.
HANG_S = 10.0
#: A kind of failure that is another project's.
TOLERATED = "error of Gradio"


@dataclass(frozen=True, slots=True)
class Failure:
    """``kind``: "crash", "hang", "foreign exception", "memory", "internal error", "leak"; or "error of Gradio", which
    is told and does not count. ``what``: the same for the same fault. ``detail``: for whoever has to find it."""

    kind: str
    what: str
    detail: str = ""


@dataclass(slots=True)
class Outcome:
    """Of case ``n``: what is to be counted, what went wrong, and the peak of memory over that of an idle process."""

    n: int
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    peak_mb: float = 0.0
    seconds: float = 0.0

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Outcome:
        return cls(**{**line, "failures": tuple(Failure(**failure) for failure in line["failures"])})


class Tally:
    """All outcomes together. A failure is kept once for each fault, with the first case that showed it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.found: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], tuple[int, Failure]] = {}
        self.peak_mb = self.slowest_s = self.children_mb = 0.0
        self.largest = self.slowest = 0  # cases

    def add(self, outcome: Outcome) -> None:
        self.counts["cases"] += 1
        self.counts.update(outcome.counts)
        if outcome.peak_mb > self.peak_mb:
            self.peak_mb, self.largest = outcome.peak_mb, outcome.n
        if outcome.seconds > self.slowest_s:
            self.slowest_s, self.slowest = outcome.seconds, outcome.n
        for failure in outcome.failures:
            key = failure.kind, failure.what
            self.found[key] += 1
            self.first.setdefault(key, (outcome.n, failure))

    @property
    def failed(self) -> int:
        return sum(count for (kind, _), count in self.found.items() if kind != TOLERATED)

    def of(self, kind: str) -> int:
        """How many failures there were of ``kind``."""
        return sum(count for (found, _), count in self.found.items() if found == kind)


def place(error: BaseException) -> str:
    """The type of ``error``, and the last line of mmpipe on the way to it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/mmpipe/" in frame.filename] or frames
    last = ours[-1]
    return f"{type(error).__module__}.{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}"
