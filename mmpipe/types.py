"""What flows through the pipelines: frozen dataclasses with the unit of every number in its name.

Nothing here imports more than numpy, and numpy only for annotations: ``import mmpipe`` stays light.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

#: What every recognizer in mmpipe hears: Whisper and Silero VAD were both trained at this rate.
SPEECH_RATE_HZ = 16_000

Task = Literal["transcribe", "translate"]


class Tier(StrEnum):
    """How far a translation can be trusted. Ordered from best to worst in :data:`TIERS`."""

    GOOD = "good"  # close to what a careful translator writes
    FAIR = "fair"  # correct in the main, clumsy in places
    GIST = "gist"  # tells what the text is about
    EXPERIMENTAL = "experimental"  # may be wrong without showing it


TIERS: tuple[Tier, ...] = (Tier.GOOD, Tier.FAIR, Tier.GIST, Tier.EXPERIMENTAL)


#: Languages written without spaces between words (ISO 639-1; yue: ISO 639-3).
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue", "bo", "dz"})


def joined(texts: Iterable[str], language: str) -> str:
    """Words or sentences of ``language`` as one text, with spaces between them where the language has any.

    Args:
        texts: in order; empty ones are left out.
        language: ISO 639-1.
    """
    return ("" if language in UNSPACED else " ").join(filter(None, texts))


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Mono sound.

    ``samples``: float32, shape (n,), nominally within -1..1. ``rate_hz``: samples a second.
    """

    samples: NDArray[np.float32]
    rate_hz: int = SPEECH_RATE_HZ

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype.name != "float32":
            raise ValueError(f"Audio wants float32 of shape (n,), not {self.samples.dtype} {self.samples.shape}")

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    def slice(self, start_s: float, end_s: float) -> Audio:
        """The part between two times, clipped to what is there. A view, not a copy."""
        start, end = (max(0, round(t * self.rate_hz)) for t in (start_s, end_s))
        return Audio(self.samples[start:end], self.rate_hz)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture, upright. ``pixels``: uint8, shape (height, width, 3), sRGB."""

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype.name != "uint8":
            raise ValueError(f"Image wants uint8 of shape (h, w, 3), not {self.pixels.dtype} {self.pixels.shape}")

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What an image encoder makes of a picture.

    ``pooled``: float32 (c,). ``spatial``: float32 (c, h, w), the features before pooling. ``logits``: float32 (n,), a
    score for each of the encoder's labels; shape (0,) where it has none.
    """

    pooled: NDArray[np.float32]
    spatial: NDArray[np.float32]
    logits: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text found in a picture. ``corners``: (x, y) in pixels, clockwise from the line's own top left."""

    text: str
    corners: tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
    confidence: float  # 0..1

    def as_dict(self) -> dict[str, Any]:
        corners = [[round(x, 1), round(y, 1)] for x, y in self.corners]
        return {"text": self.text, "corners_px": corners, "confidence": round(self.confidence, 4)}


@dataclass(frozen=True, slots=True)
class Word:
    """One recognized word. ``text`` keeps the punctuation that belongs to it, without surrounding spaces."""

    text: str
    start_s: float
    end_s: float
    probability: float  # of the word's tokens, their mean, 0..1

    def shifted(self, by_s: float) -> Word:
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of recognized speech."""

    start_s: float
    end_s: float
    text: str
    language: str  # of ``text``, ISO 639-1
    words: tuple[Word, ...] = ()
    language_probability: float | None = None  # None when the caller named the language
    avg_logprob: float = 0.0  # natural log, mean over tokens
    no_speech_prob: float = 0.0
    entropy_nats: float | None = None  # mean over the tokens' output distributions; None when not asked for

    def shifted(self, by_s: float) -> Segment:
        return replace(
            self,
            start_s=self.start_s + by_s,
            end_s=self.end_s + by_s,
            words=tuple(word.shifted(by_s) for word in self.words),
        )

    def word_offsets(self) -> list[int]:
        """Where each word begins in ``text``, characters. Between words stands what the language puts there."""
        starts, at = [], 0
        for word in self.words:
            found = self.text.find(word.text, at)
            starts.append(found if found >= 0 else at)
            at = starts[-1] + len(word.text)
        return starts


@dataclass(frozen=True)
class Transcript:
    """Everything that was said in one recording, in order."""

    segments: tuple[Segment, ...]
    language: str
    duration_s: float
    language_probability: float | None = None

    @cached_property
    def text(self) -> str:
        return joined((segment.text for segment in self.segments), self.language)

    @cached_property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)


@dataclass(frozen=True, slots=True)
class RecognitionOptions:
    """How to recognize. Two windows with equal options can share a batch."""

    language: str | None = None  # ISO 639-1; None: detect it, each window for itself
    languages: tuple[str, ...] = ()  # those to choose from where it is detected; empty: all
    task: Task = "transcribe"  # "translate": to English text, straight from the speech
    word_timestamps: bool = False  # give word times and probabilities
    entropy: bool = False  # give the mean entropy of the output distributions
    beam_size: int = 1  # 1: greedy
    initial_prompt: str | None = None  # text that could have come before
    hotwords: tuple[str, ...] = ()  # names and terms to expect
    #: What looks like a loop or a guess is decoded again, at several times the cost. Else a loop counts as not
    #: understood and a guess is taken, which will do where the same sound is heard again soon.
    retry_full_context: bool = True


@dataclass(frozen=True, slots=True)
class SpeechWindow:
    """What a recognizer hears at once: 16 kHz, at most 30 s."""

    audio: Audio
    options: RecognitionOptions = field(default_factory=RecognitionOptions)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a translator reads at once. Languages in ISO 639-1."""

    text: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Translation:
    """A text and its translation."""

    source_text: str
    text: str
    source: str  # language of ``source_text``, ISO 639-1
    target: str  # language of ``text``
    route: tuple[str, ...] = ()  # steps, e.g. ("bergamot en>pt", "apertium pt>es")
    tier: Tier = Tier.EXPERIMENTAL


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What a synthesizer speaks at once."""

    text: str
    language: str  # ISO 639-1
    voice: str | None = None  # None: the engine's default for the language
    speed: float = 1.0  # 1.0: the voice's own pace; 2.0: twice as fast


@dataclass(frozen=True, slots=True)
class TranslatedSegment:
    """A sentence that was said, its translation and, when asked for, the translation spoken."""

    source: Segment
    translation: Translation
    speech: Audio | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The answer to a question about pictures.

    ``confidence``: the probability, 0..1, that it is right, as far as the adapter was calibrated. ``refused``: it says
    that it cannot be told, because the language model said so or its confidence was below the threshold; ``said`` is
    then what it would have been.
    """

    text: str  # in ``language``
    question: str  # as it was typed or heard
    language: str  # ISO 639-1
    said: str  # by the language model itself, in English
    confidence: float
    refused: bool = False
    read: tuple[TextLine, ...] = ()  # the answer is this text, found in the picture
    choices: Mapping[str, float] = field(default_factory=dict)  # their probabilities, which sum to 1; likeliest first
    data: Any = None  # where a JSON schema was given: what ``text`` holds
    speech: Audio | None = None  # ``text``, spoken

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, without the speech; what there is none of is left out."""
        found: dict[str, Any] = {
            "question": self.question,
            "answer": self.text,
            "language": self.language,
            "confidence": round(self.confidence, 4),
            "refused": self.refused,
            "said": self.said,
        }
        if self.choices:
            found["choices"] = {text: round(probability, 4) for text, probability in self.choices.items()}
        if self.data is not None:
            found["data"] = self.data
        if self.read:
            found["read"] = [line.as_dict() for line in self.read]
        return found
