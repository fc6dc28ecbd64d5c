"""What a soak measures, and the statistics of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np

from mmpipe.evaluate.replay_log import LiveReport, Words
from mmpipe.evaluate.soak_faults import Tally
from mmpipe.evaluate.soak_live import Heard
from mmpipe.evaluate.soak_server import Sample

_TENTH = 10


@dataclass(frozen=True, slots=True)
class SessionResult:
    """One live session that went to its end, or failed."""

    began_at_s: float  # since the load began
    said_s: float
    voice: bool
    audits: bool
    heard: Heard
    sentences: int = 0  # of the offline transcript
    report: LiveReport | None = None  # against what is spoken; None: it failed too soon
    offline: LiveReport | None = None  # against the offline transcript

    def as_dict(self) -> dict[str, Any]:
        """Plain figures, without what was said."""
        heard = self.heard
        return {
            "session": heard.session,
            "began_at_s": round(self.began_at_s, 1),
            "said_s": round(self.said_s, 1),
            "voice": self.voice,
            "audits": self.audits,
            **{name: getattr(heard, name) for name in _HEARD},
            "sentences": self.sentences,
            "commit_p95_s": round(self.report.commit.p95_s, 2) if self.report and self.report.commit else None,
            "integrity": asdict(self.report.integrity) if self.report else None,
            "words": asdict(self.report.words) if self.report else None,
            "words_offline": asdict(self.offline.words) if self.offline else None,
        }


_HEARD = ("received", "cuts", "resumed", "repeated", "changed", "lost", "disordered", "audited", "failure")


@dataclass(slots=True)
class Done:
    """How often something that visitors do went well, how long it took, and why it did not."""

    took_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Soak:
    """All that was measured."""

    options: dict[str, Any]
    warmup_s: float
    idle_before: Sample | None = None
    samples: list[Sample] = field(default_factory=list)  # under load
    idle_after: Sample | None = None
    idle_after_s: float | None = None  # from the end of the load until it was idle as before; None: not in time
    load_s: float = 0.0
    sessions: list[SessionResult] = field(default_factory=list)
    refused: int = 0  # attempts to begin a session that were not admitted
    recordings: Done = field(default_factory=Done)
    questions: Done = field(default_factory=Done)
    tally: Tally = field(default_factory=Tally)
    offline_wer: float | None = None  # of the offline transcripts
    crashed: str = ""
    interrupted: bool = False
    log_errors: int = 0  # in the server's log


@dataclass(frozen=True, slots=True)
class Growth:
    """How a figure moved: medians of the first and the last tenth of the time, so that a single peak does not count."""

    before: float
    after: float
    per_hour: float  # the median of the slopes between all pairs of points (Theil-Sen)

    @property
    def share(self) -> float:
        return self.after / self.before - 1 if self.before else 0.0


def growth(at_s: Sequence[float], values: Sequence[float]) -> Growth | None:
    """How ``values`` grow.

    Args:
        at_s: when each was taken, in order.
        values: as many as there are times.

    Returns:
        None: they are too few to tell.
    """
    if len(values) < 2:
        return None
    tenth = max(1, len(values) // _TENTH)
    x, y = np.asarray(at_s, float), np.asarray(values, float)
    first, second = np.triu_indices(len(x), 1)
    apart_s = x[second] - x[first]
    slopes = (y[second] - y[first])[apart_s > 0] / apart_s[apart_s > 0]
    per_s = float(np.median(slopes)) if len(slopes) else 0.0
    return Growth(median(values[:tenth]), median(values[-tenth:]), 3_600 * per_s)


def memory_growth(samples: Sequence[Sample], warmup_s: float) -> Growth | None:
    """How the memory of the server's process grows under load, after the warm-up."""
    return _growth_of([(s.at_s, s.resident_mb) for s in samples], warmup_s)


def threads_growth(samples: Sequence[Sample], warmup_s: float) -> Growth | None:
    """How the number of its threads does."""
    return _growth_of([(s.at_s, s.threads) for s in samples if s.resident_mb is not None], warmup_s)


def descriptors_growth(samples: Sequence[Sample], warmup_s: float) -> Growth | None:
    """How the number of its open descriptors does."""
    return _growth_of([(s.at_s, s.descriptors) for s in samples if s.resident_mb is not None], warmup_s)


def _growth_of(points: Sequence[tuple[float, float | None]], from_s: float) -> Growth | None:
    seen = [(at_s, value) for at_s, value in points if at_s >= from_s and value is not None]
    return growth([at_s for at_s, _ in seen], [value for _, value in seen])


def added_up(words: Sequence[Words]) -> Words | None:
    """The sum over sessions. None: there were none."""
    if not words:
        return None
    return Words(**{name: sum(getattr(one, name) for one in words) for name in Words.__slots__})


def word_error_rate_of(words: Words) -> float:
    """Substitutions, deletions and insertions, for each word of the reference."""
    return (words.wrong + words.missing + words.added) / max(1, words.reference)


def commit_delays(sessions: Sequence[SessionResult]) -> list[tuple[float, float]]:
    """Of each word that was recognized right: when it was committed since the load began, and how late."""
    return [
        (session.began_at_s + emitted_s, delay_s)
        for session in sessions
        if session.report
        for emitted_s, delay_s in zip(session.report.commit_emitted_s, session.report.commit_delays_s, strict=True)
    ]
