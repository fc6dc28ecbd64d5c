"""What a live session says while it goes on.

Times are seconds since the session began. Two clocks matter: ``start_s``, ``end_s`` and ``heard_until_s`` count the
sound that was sent, ``emitted_s`` is when the event left the session. ``heard_until_s`` is the end of the sound that
the event rests on: a machine without any delay would have emitted it then. An event that is about no words in
particular has an empty ``text``, and ends where the sound had come to.
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
    start_s: float
    end_s: float
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types. Audio is given as sample rate and duration: it travels on its own."""
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
class PartialEvent(Event):
    """What is being said, as far as it is understood now. Each one replaces the one before; an empty one clears it."""

    type: ClassVar[str] = "partial"
    heard_until_s: float
    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedEvent(Event):
    """Words that will never change. The text of all of them, joined, is the transcript."""

    type: ClassVar[str] = "committed"
    heard_until_s: float
    language: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedEvent(Event):
    """A translation. ``final``: of a whole committed sentence; else a draft, which the next one replaces."""

    type: ClassVar[str] = "translated"
    heard_until_s: float
    source_text: str
    language: str  # of ``text``
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenEvent(Event):
    """A piece of the spoken translation of the sentence from ``start_s`` to ``end_s``."""

    type: ClassVar[str] = "spoken"
    audio: Audio


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptedEvent(Event):
    """Somebody answered the voice before it was through: a player stops, and forgets what it was sent until now."""

    type: ClassVar[str] = "interrupted"
    heard_until_s: float
    dropped: int  # sentences that were not spoken to their end


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageEvent(Event):
    """The language that is spoken was found out, or found to be another than before."""

    type: ClassVar[str] = "language"
    heard_until_s: float
    language: str
    previous: str | None  # None: it is the first


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsEvent(Event):
    """How the session keeps up."""

    type: ClassVar[str] = "stats"
    heard_s: float  # sound received
    lag_s: float  # from the end of the sound received to the end of what was last recognized
    real_time_factor: float  # of recognition, over the whole session
    to_translate: int  # sentences waiting
    to_speak: int
    dropped_partials: int  # hypotheses that were never made because newer sound was there
    dropped_speech: int  # sentences that were not spoken to their end: the voice was behind, or interrupted
    voice_behind_s: float  # sound that the player has or will be sent before the next sentence
    unheard_s: float  # sound that was not listened to because the voice was playing


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Event):
    """Something went wrong and the session goes on."""

    type: ClassVar[str] = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedEvent(Event):
    """The last event of a session."""

    type: ClassVar[str] = "ended"
    reason: str


#: Every kind of event by the name under which it travels.
EVENT_TYPES: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (
        PartialEvent,
        CommittedEvent,
        TranslatedEvent,
        SpokenEvent,
        InterruptedEvent,
        LanguageEvent,
        StatsEvent,
        WarningEvent,
        EndedEvent,
    )
}
