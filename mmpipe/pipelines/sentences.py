"""Put recognized segments together into sentences.

A recognizer's windows end where somebody takes a breath, not where a sentence ends. A translator wants whole
sentences, and a listener does too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mmpipe.translate.text import split_sentences
from mmpipe.types import UNSPACED, Segment

_TERMINAL = ".!?…。！？؟।"
_CLOSING = "\"'”’»)]」』"


@dataclass(frozen=True, slots=True)
class SentenceOptions:
    """When a sentence is taken to be over although its end was not recognized."""

    max_gap_s: float = 1.5  # a pause as long as this ends it
    max_s: float = 20.0  # so does this length,
    max_chars: int = 400  # or this one


class SentenceAssembler:
    """Segments in, in order; sentences out, as :class:`Segment` with the times and words that belong to them."""

    def __init__(self, options: SentenceOptions | None = None) -> None:
        self._options = options or SentenceOptions()
        self._tail: Segment | None = None  # begun, and not ended yet

    @property
    def empty(self) -> bool:
        """Nothing is held back: all that was fed has come out."""
        return self._tail is None

    @property
    def tail(self) -> Segment | None:
        """The sentence that has begun and not ended."""
        return self._tail

    def feed(self, segment: Segment) -> Iterator[Segment]:
        """Sentences that are complete now."""
        if not segment.text:
            return
        if self._tail:
            parted = (
                segment.start_s - self._tail.end_s > self._options.max_gap_s or segment.language != self._tail.language
            )
            if parted:
                yield from self.flush()
            else:
                segment = _join(self._tail, segment)
                self._tail = None
        *whole, last = split_segment(segment)
        yield from whole
        too_long = last.end_s - last.start_s > self._options.max_s or len(last.text) > self._options.max_chars
        if too_long or ends_sentence(last.text, last.language):
            yield last
        else:
            self._tail = last

    def flush(self) -> Iterator[Segment]:
        """What is held back, at the end of the recording."""
        if self._tail:
            yield self._tail
            self._tail = None


def sentences(segments: Iterable[Segment], options: SentenceOptions | None = None) -> Iterator[Segment]:
    """All sentences of ``segments``."""
    assembler = SentenceAssembler(options)
    for segment in segments:
        yield from assembler.feed(segment)
    yield from assembler.flush()


def ends_sentence(text: str, language: str) -> bool:
    """Whether ``text`` ends a sentence. "And Mr." does not: with another word behind it, it would not be parted."""
    text = text.rstrip(_CLOSING)
    if not text.endswith("."):
        return text[-1:] in _TERMINAL
    return len(split_sentences(f"{text} So", language)) > len(split_sentences(text, language))


def _join(a: Segment, b: Segment) -> Segment:
    joint = "" if a.language in UNSPACED else " "
    weight_a, weight_b = len(a.text), len(b.text)

    def mean(x: float, y: float) -> float:
        return (x * weight_a + y * weight_b) / (weight_a + weight_b)

    entropy = None
    if a.entropy_nats is not None and b.entropy_nats is not None:
        entropy = mean(a.entropy_nats, b.entropy_nats)
    return replace(
        a,
        end_s=b.end_s,
        text=a.text + joint + b.text,
        words=a.words + b.words,
        avg_logprob=mean(a.avg_logprob, b.avg_logprob),
        no_speech_prob=mean(a.no_speech_prob, b.no_speech_prob),
        entropy_nats=entropy,
    )


def split_segment(segment: Segment) -> list[Segment]:
    """The sentences of one segment. Times are those of the words, or in proportion to the text where there are none."""
    pieces = split_sentences(segment.text, segment.language)
    if len(pieces) < 2:
        return [segment]
    offsets = segment.word_offsets()
    per_char_s = (segment.end_s - segment.start_s) / len(segment.text)
    found, at = [], 0
    for piece in pieces:
        at = max(at, segment.text.find(piece, at))
        end = at + len(piece)
        words = tuple(w for w, offset in zip(segment.words, offsets, strict=True) if at <= offset < end)
        start_s, end_s = segment.start_s + at * per_char_s, segment.start_s + end * per_char_s
        if words:
            start_s, end_s = words[0].start_s, words[-1].end_s
        found.append(replace(segment, start_s=start_s, end_s=end_s, text=piece, words=words))
        at = end
    return found
