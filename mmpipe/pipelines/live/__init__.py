"""Live sessions: captions, translation and voice while the person is still talking."""

from mmpipe.pipelines.live.events import (
    Committed,
    Ended,
    Event,
    Interrupted,
    LanguageDetected,
    Partial,
    Spoken,
    Stats,
    Translated,
    Warned,
)
from mmpipe.pipelines.live.models import Answers, LiveModels
from mmpipe.pipelines.live.options import LiveOptions
from mmpipe.pipelines.live.session import LiveSession

__all__ = [
    "Answers",
    "Committed",
    "Ended",
    "Event",
    "Interrupted",
    "LanguageDetected",
    "LiveModels",
    "LiveOptions",
    "LiveSession",
    "Partial",
    "Spoken",
    "Stats",
    "Translated",
    "Warned",
]
