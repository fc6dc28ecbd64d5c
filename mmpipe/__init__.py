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
    "BatchOptions": "mmpipe.batching",
    "Batcher": "mmpipe.batching",
    "BatcherStats": "mmpipe.batching",
    "ClientOptions": "mmpipe.client",
    "CommittedEvent": "mmpipe.pipelines.live",
    "EndedEvent": "mmpipe.pipelines.live",
    "Engines": "mmpipe.pipelines.engines",
    "EngineOptions": "mmpipe.generation.options",
    "Event": "mmpipe.pipelines.live",
    "GenerationEngine": "mmpipe.generation.engine",
    "GenerationRequest": "mmpipe.generation.requests",
    "Glossary": "mmpipe.translate",
    "Image": "mmpipe.types",
    "ImageEncoder": "mmpipe.stage",
    "ImageFeatures": "mmpipe.types",
    "InputError": "mmpipe.errors",
    "InterruptedEvent": "mmpipe.pipelines.live",
    "LanguageError": "mmpipe.errors",
    "LanguageEvent": "mmpipe.pipelines.live",
    "LanguageModel": "mmpipe.generation.language_model",
    "LiveClient": "mmpipe.client",
    "LiveModels": "mmpipe.pipelines.live",
    "LiveOptions": "mmpipe.pipelines.live",
    "LiveSession": "mmpipe.pipelines.live",
    "Loudspeaker": "mmpipe.audio.devices",
    "MediaError": "mmpipe.errors",
    "Message": "mmpipe.generation.chat",
    "Microphone": "mmpipe.audio.devices",
    "MissingDependencyError": "mmpipe.errors",
    "MmpipeError": "mmpipe.errors",
    "MultimodalQA": "mmpipe.pipelines.multimodal_qa",
    "PartialEvent": "mmpipe.pipelines.live",
    "Prompt": "mmpipe.generation.requests",
    "RecognitionOptions": "mmpipe.types",
    "Recognizer": "mmpipe.stage",
    "SamplingOptions": "mmpipe.generation.sampling",
    "Segment": "mmpipe.types",
    "Sentence": "mmpipe.types",
    "SpeechRequest": "mmpipe.types",
    "SpeechTranslator": "mmpipe.pipelines.speech_translation",
    "SpeechWindow": "mmpipe.types",
    "SpokenEvent": "mmpipe.pipelines.live",
    "Stage": "mmpipe.stage",
    "StageError": "mmpipe.errors",
    "StatsEvent": "mmpipe.pipelines.live",
    "Synthesizer": "mmpipe.stage",
    "Term": "mmpipe.translate",
    "TextLine": "mmpipe.types",
    "TextReader": "mmpipe.stage",
    "TextToSpeech": "mmpipe.audio.synthesis",
    "TextTranslator": "mmpipe.translate",
    "Tier": "mmpipe.types",
    "Transcriber": "mmpipe.pipelines.transcription",
    "Transcript": "mmpipe.types",
    "TranslatedEvent": "mmpipe.pipelines.live",
    "TranslatedRecording": "mmpipe.pipelines.speech_translation",
    "TranslatedSegment": "mmpipe.types",
    "Translation": "mmpipe.types",
    "Translator": "mmpipe.stage",
    "WarningEvent": "mmpipe.pipelines.live",
    "WeightsError": "mmpipe.errors",
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
    from mmpipe.audio.synthesis import TextToSpeech as TextToSpeech
    from mmpipe.batching import Batcher as Batcher
    from mmpipe.batching import BatcherStats as BatcherStats
    from mmpipe.batching import BatchOptions as BatchOptions
    from mmpipe.client import ClientOptions as ClientOptions
    from mmpipe.client import LiveClient as LiveClient
    from mmpipe.errors import InputError as InputError
    from mmpipe.errors import LanguageError as LanguageError
    from mmpipe.errors import MediaError as MediaError
    from mmpipe.errors import MissingDependencyError as MissingDependencyError
    from mmpipe.errors import MmpipeError as MmpipeError
    from mmpipe.errors import StageError as StageError
    from mmpipe.errors import WeightsError as WeightsError
    from mmpipe.generation.chat import Message as Message
    from mmpipe.generation.engine import GenerationEngine as GenerationEngine
    from mmpipe.generation.language_model import LanguageModel as LanguageModel
    from mmpipe.generation.options import EngineOptions as EngineOptions
    from mmpipe.generation.requests import GenerationRequest as GenerationRequest
    from mmpipe.generation.requests import Prompt as Prompt
    from mmpipe.generation.sampling import SamplingOptions as SamplingOptions
    from mmpipe.pipelines.engines import Engines as Engines
    from mmpipe.pipelines.live import CommittedEvent as CommittedEvent
    from mmpipe.pipelines.live import EndedEvent as EndedEvent
    from mmpipe.pipelines.live import Event as Event
    from mmpipe.pipelines.live import InterruptedEvent as InterruptedEvent
    from mmpipe.pipelines.live import LanguageEvent as LanguageEvent
    from mmpipe.pipelines.live import LiveModels as LiveModels
    from mmpipe.pipelines.live import LiveOptions as LiveOptions
    from mmpipe.pipelines.live import LiveSession as LiveSession
    from mmpipe.pipelines.live import PartialEvent as PartialEvent
    from mmpipe.pipelines.live import SpokenEvent as SpokenEvent
    from mmpipe.pipelines.live import StatsEvent as StatsEvent
    from mmpipe.pipelines.live import TranslatedEvent as TranslatedEvent
    from mmpipe.pipelines.live import WarningEvent as WarningEvent
    from mmpipe.pipelines.multimodal_qa import MultimodalQA as MultimodalQA
    from mmpipe.pipelines.speech_translation import SpeechTranslator as SpeechTranslator
    from mmpipe.pipelines.speech_translation import TranslatedRecording as TranslatedRecording
    from mmpipe.pipelines.transcription import Transcriber as Transcriber
    from mmpipe.stage import ImageEncoder as ImageEncoder
    from mmpipe.stage import Recognizer as Recognizer
    from mmpipe.stage import Stage as Stage
    from mmpipe.stage import Synthesizer as Synthesizer
    from mmpipe.stage import TextReader as TextReader
    from mmpipe.stage import Translator as Translator
    from mmpipe.translate import Glossary as Glossary
    from mmpipe.translate import Term as Term
    from mmpipe.translate import TextTranslator as TextTranslator
    from mmpipe.types import Answer as Answer
    from mmpipe.types import Audio as Audio
    from mmpipe.types import Image as Image
    from mmpipe.types import ImageFeatures as ImageFeatures
    from mmpipe.types import RecognitionOptions as RecognitionOptions
    from mmpipe.types import Segment as Segment
    from mmpipe.types import Sentence as Sentence
    from mmpipe.types import SpeechRequest as SpeechRequest
    from mmpipe.types import SpeechWindow as SpeechWindow
    from mmpipe.types import TextLine as TextLine
    from mmpipe.types import Tier as Tier
    from mmpipe.types import Transcript as Transcript
    from mmpipe.types import TranslatedSegment as TranslatedSegment
    from mmpipe.types import Translation as Translation
    from mmpipe.types import Word as Word
