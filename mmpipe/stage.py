"""The one contract of every model in mmpipe: a list in, a list out.

To add an engine, subclass the kind of stage it is, implement ``run`` and state what it can do; nothing else is
needed. ``docs/engines.md`` shows a whole engine in under twenty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from math import inf
from typing import ClassVar, Generic, TypeVar

from mmpipe.types import (
    Audio,
    Image,
    ImageFeatures,
    Segment,
    Sentence,
    SpeechRequest,
    SpeechWindow,
    TextLine,
    Tier,
)

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(ABC, Generic[In, Out]):
    """A stateless batched model call.

    ``run`` is called from one thread at a time (its :class:`~mmpipe.batching.Batcher` sees to that) and keeps nothing
    between calls, so that one instance serves any number of callers. ``cost`` and ``group`` are called on the threads
    of the callers, and depend on the item alone.
    """

    name: ClassVar[str] = "stage"
    #: a batch larger than this in items, or in cost, gains nothing
    max_items: int = 8
    max_cost: float = inf

    @abstractmethod
    def run(self, items: Sequence[In]) -> list[Out]:
        """Compute ``items``: one result for each, in the same order. ``items`` is never empty."""

    def cost(self, item: In) -> float:
        """What ``item`` adds to a batch, in the unit of this kind of stage (see the subclasses)."""
        return 1.0

    def group(self, item: In) -> Hashable:
        """Items run in one batch only if this key is equal (language, task, decoding options)."""
        return None

    def warmup(self) -> None:
        """Do what makes the first real item slow. Called once, before the first item, on the stage's thread."""

    def close(self) -> None:
        """Free what the stage holds. May be called twice."""


class Recognizer(Stage[SpeechWindow, Segment]):
    """Speech to text. Cost: seconds of audio.

    ``run`` maps each window (16 kHz mono, at most 30 s) to one :class:`~mmpipe.types.Segment` whose times count
    from the start of the window; a window without speech gives a segment with empty text.
    """

    #: ISO 639-1 codes that can be recognized
    languages: frozenset[str] = frozenset()

    def cost(self, item: SpeechWindow) -> float:
        return item.audio.duration_s


class Translator(Stage[Sentence, str]):
    """Text to text, a sentence at a time. Cost: characters.

    ``run`` gets single sentences without line breaks and gives their translations. Splitting, protection of URLs
    and numbers, the glossary and routing through pivots are done above it, by ``mmpipe.translate``.
    """

    #: (source, target) in ISO 639-1 -> how good this engine is at it
    pairs: Mapping[tuple[str, str], Tier] = {}

    def cost(self, item: Sentence) -> float:
        return float(len(item.text))

    def group(self, item: Sentence) -> Hashable:
        return item.source, item.target


class Synthesizer(Stage[SpeechRequest, Audio]):
    """Text to speech. Cost: characters.

    ``run`` gets texts that are ready to be spoken (numbers and abbreviations already written out) and short enough
    for the model (``max_chars``), and gives mono float32 audio at ``rate_hz``.
    """

    rate_hz: int = 24_000
    max_chars: int = 300
    #: language in ISO 639-1 -> names of voices, the default first
    voices: Mapping[str, Sequence[str]] = {}

    def cost(self, item: SpeechRequest) -> float:
        return float(len(item.text))

    def stream(self, item: SpeechRequest) -> Iterator[Audio]:
        """The audio of one item in pieces as they become ready. Engines that cannot stream give one piece."""
        yield from self.run([item])


class ImageEncoder(Stage[Image, ImageFeatures]):
    """Pictures to features. Cost: pictures, since each is brought to one size first."""

    #: what the logits stand for, in order; empty where the encoder does not classify
    labels: Sequence[str] = ()
    #: all that the features depend on besides the picture, such as the weights' digest: features of encoders with
    #: equal identities are interchangeable, and may be kept. Empty: nothing is known, features are not kept
    identity: str = ""


class TextReader(Stage[Image, tuple[TextLine, ...]]):
    """The text in pictures, line by line in reading order. Cost: megapixels."""

    #: ISO 639-1 codes of what can be read
    languages: frozenset[str] = frozenset()

    def cost(self, item: Image) -> float:
        return item.width_px * item.height_px / 1e6
