"""Live sessions: captions, translation and voice while the person is still talking."""

from mmpipe.pipelines.live.events import (
    CommittedEvent,
    EndedEvent,
    Event,
    InterruptedEvent,
    LanguageEvent,
    PartialEvent,
    SpokenEvent,
    StatsEvent,
    TranslatedEvent,
    WarningEvent,
)
from mmpipe.pipelines.live.models import Answers, LiveModels
from mmpipe.pipelines.live.options import LiveOptions
from mmpipe.pipelines.live.session import LiveSession

__all__ = [
    "Answers",
    "CommittedEvent",
    "EndedEvent",
    "Event",
    "InterruptedEvent",
    "LanguageEvent",
    "LiveModels",
    "LiveOptions",
    "LiveSession",
    "PartialEvent",
    "SpokenEvent",
    "StatsEvent",
    "TranslatedEvent",
    "WarningEvent",
]
