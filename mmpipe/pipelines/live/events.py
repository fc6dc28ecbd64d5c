"""What a live session says while it goes on.

Times are seconds since the session began. Two clocks matter: ``start_s``, ``end_s`` and ``heard_until_s`` count the
sound that was sent, ``emitted_s`` is when the event left the session. ``heard_until_s`` is the end of the sound that
the event rests on: a machine without any delay would have emitted it then.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from mmpipe.types import Audio, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``seq`` grows by one from event to event, so that a client can tell what it has missed."""

    type: ClassVar[str] = "event"
    seq: int
    emitted_s: float

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types. Sound is told by its length: it travels on its own."""
        found: dict[str, Any] = {"type": self.type}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Audio):
                found |= {"rate_hz": value.rate_hz, "duration_s": round(value.duration_s, 3)}
            elif isinstance(value, tuple):
                found[field.name] = [asdict(item) for item in value]
            else:
                found[field.name] = round(value, 3) if isinstance(value, float) else value
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial(Event):
    """What is being said, as far as it is understood now. Each one replaces the one before; an empty one clears it."""

    type: ClassVar[str] = "partial"
    start_s: float
    end_s: float
    heard_until_s: float
    text: str
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """Words that will never change. The text of all of them, joined, is the transcript."""

    type: ClassVar[str] = "committed"
    start_s: float
    end_s: float
    heard_until_s: float
    text: str
    language: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated(Event):
    """A translation. ``final``: of a whole committed sentence; else a draft, which the next one replaces."""

    type: ClassVar[str] = "translated"
    start_s: float
    end_s: float
    heard_until_s: float
    text: str
    source_text: str
    language: str  # of ``text``
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken(Event):
    """A piece of the spoken translation of the sentence from ``start_s`` to ``end_s``."""

    type: ClassVar[str] = "spoken"
    start_s: float
    end_s: float
    text: str
    audio: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Event):
    """How the session keeps up."""

    type: ClassVar[str] = "stats"
    heard_s: float  # sound received
    lag_s: float  # from the end of the sound received to the end of what was last recognised
    real_time_factor: float  # of recognition, over the whole session
    to_translate: int  # sentences waiting
    to_speak: int
    dropped_partials: int  # hypotheses that were never made because newer sound was there
    dropped_speech: int  # sentences that were not spoken because the voice fell behind


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something went wrong and the session goes on."""

    type: ClassVar[str] = "warning"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """The last event of a session."""

    type: ClassVar[str] = "ended"
    reason: str
