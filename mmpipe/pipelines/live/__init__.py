"""Live sessions: captions, translation and voice while the person is still talking."""

from mmpipe.pipelines.live.events import Committed, Ended, Event, Partial, Spoken, Stats, Translated, Warned
from mmpipe.pipelines.live.session import LiveModels, LiveOptions, LiveSession

__all__ = [
    "Committed",
    "Ended",
    "Event",
    "LiveModels",
    "LiveOptions",
    "LiveSession",
    "Partial",
    "Spoken",
    "Stats",
    "Translated",
    "Warned",
]
