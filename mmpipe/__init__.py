"""mmpipe listens, looks, translates, answers and speaks.

The public names live here and are loaded when they are first used, so that ``import mmpipe`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> module that defines it
_PUBLIC = {
    "Answer": "mmpipe.types",
    "Audio": "mmpipe.types",
    "Batcher": "mmpipe.batching",
    "CommittedEvent": "mmpipe.pipelines.live",
    "EndedEvent": "mmpipe.pipelines.live",
    "Event": "mmpipe.pipelines.live",
    "Image": "mmpipe.types",
    "InterruptedEvent": "mmpipe.pipelines.live",
    "LiveModels": "mmpipe.pipelines.live",
    "LiveOptions": "mmpipe.pipelines.live",
    "LiveSession": "mmpipe.pipelines.live",
    "Loudspeaker": "mmpipe.audio.devices",
    "Message": "mmpipe.generation.chat",
    "Microphone": "mmpipe.audio.devices",
    "MmpipeError": "mmpipe.errors",
    "PartialEvent": "mmpipe.pipelines.live",
    "MultimodalQA": "mmpipe.pipelines.multimodal_qa",
    "Recognizer": "mmpipe.stage",
    "Segment": "mmpipe.types",
    "SpeechTranslator": "mmpipe.pipelines.speech_translation",
    "SpokenEvent": "mmpipe.pipelines.live",
    "Stage": "mmpipe.stage",
    "Synthesizer": "mmpipe.stage",
    "Transcript": "mmpipe.types",
    "TranslatedEvent": "mmpipe.pipelines.live",
    "Translation": "mmpipe.types",
    "Translator": "mmpipe.stage",
    "WarningEvent": "mmpipe.pipelines.live",
    "Word": "mmpipe.types",
    "list_devices": "mmpipe.audio.devices",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604  (all strings)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mmpipe' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from mmpipe.audio.devices import Loudspeaker as Loudspeaker
    from mmpipe.audio.devices import Microphone as Microphone
    from mmpipe.audio.devices import list_devices as list_devices
    from mmpipe.batching import Batcher as Batcher
    from mmpipe.errors import MmpipeError as MmpipeError
    from mmpipe.generation.chat import Message as Message
    from mmpipe.pipelines.live import CommittedEvent as CommittedEvent
    from mmpipe.pipelines.live import EndedEvent as EndedEvent
    from mmpipe.pipelines.live import Event as Event
    from mmpipe.pipelines.live import InterruptedEvent as InterruptedEvent
    from mmpipe.pipelines.live import LiveModels as LiveModels
    from mmpipe.pipelines.live import LiveOptions as LiveOptions
    from mmpipe.pipelines.live import LiveSession as LiveSession
    from mmpipe.pipelines.live import PartialEvent as PartialEvent
    from mmpipe.pipelines.live import SpokenEvent as SpokenEvent
    from mmpipe.pipelines.live import TranslatedEvent as TranslatedEvent
    from mmpipe.pipelines.live import WarningEvent as WarningEvent
    from mmpipe.pipelines.multimodal_qa import MultimodalQA as MultimodalQA
    from mmpipe.pipelines.speech_translation import SpeechTranslator as SpeechTranslator
    from mmpipe.stage import Recognizer as Recognizer
    from mmpipe.stage import Stage as Stage
    from mmpipe.stage import Synthesizer as Synthesizer
    from mmpipe.stage import Translator as Translator
    from mmpipe.types import Answer as Answer
    from mmpipe.types import Audio as Audio
    from mmpipe.types import Image as Image
    from mmpipe.types import Segment as Segment
    from mmpipe.types import Transcript as Transcript
    from mmpipe.types import Translation as Translation
    from mmpipe.types import Word as Word
