"""Voice activity: where in a stream of sound somebody speaks.

Silero VAD gives a probability for every 32 ms; an :class:`Endpointer` turns probabilities into stretches of speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.types import SPEECH_RATE_HZ, Audio
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME = 512  # samples the model judges at once: 32 ms at 16 kHz
FRAME_S = FRAME / SPEECH_RATE_HZ
_CONTEXT = 64  # samples of the frame before, which the model sees too
_MAX_FRAMES = 512  # in one call of the model


class SileroVad:
    """Silero VAD v6 through ONNX Runtime: the model, shared by any number of :class:`VadStream`.

    https://github.com/snakers4/silero-vad, MIT. Its Python package would import torch; the model does not need it.
    """

    def __init__(self, weights: Path | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # tiny matrices: a second thread only spins
        path = (weights or fetch("silero-vad")) / "silero_vad_16k_sequence.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def stream(self) -> VadStream:
        return VadStream(self)

    def judge(
        self, frames: NDArray[np.float32], h: NDArray[np.float32], c: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (n,) of ``frames`` (n, context + frame), and the recurrent state after them."""
        probabilities, h, c = self._session.run(["speech_probs", "hn", "cn"], {"input": frames, "h": h, "c": c})
        return np.ravel(probabilities), h, c


class VadStream:
    """The state of one stream of sound: what the model remembers, and samples that do not fill a frame yet."""

    def __init__(self, vad: SileroVad) -> None:
        self._vad = vad
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._tail = np.zeros(_CONTEXT, np.float32)  # the context, then the samples of an unfinished frame

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Speech probability of every frame that ``samples`` (n,) completes: float32 of shape (frames,), 0..1."""
        joined = np.concatenate([self._tail, samples])
        count = (len(joined) - _CONTEXT) // FRAME
        self._tail = joined[count * FRAME :]
        if not count:
            return np.zeros(0, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(joined, _CONTEXT + FRAME)[::FRAME][:count]
        found = []
        for at in range(0, count, _MAX_FRAMES):
            block = np.ascontiguousarray(frames[at : at + _MAX_FRAMES])
            probabilities, self._h, self._c = self._vad.judge(block, self._h, self._c)
            found.append(probabilities)
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class VadOptions:
    """When speech begins and ends."""

    threshold: float = 0.5  # speech begins at this probability
    neg_threshold: float = 0.35  # and lasts until it stays below this one
    min_speech_s: float = 0.2  # shorter bursts are clicks
    min_silence_s: float = 0.3  # shorter pauses are part of speaking
    pad_s: float = 0.5  # kept before and after: at 0.25 s "ill-disposed" was heard as "ill-sposed"
    max_speech_s: float = 24.0  # a longer stretch is cut at its least probable frame; below Whisper's 30 s


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of speech, in frames of 32 ms since the stream began; ``end`` is exclusive."""

    start: int
    end: int


class Endpointer:
    """Turns speech probabilities, frame by frame, into spans. Pure logic: it never sees sound."""

    def __init__(self, options: VadOptions | None = None) -> None:
        self.options = options or VadOptions()
        self._min_speech = max(1, round(self.options.min_speech_s / FRAME_S))
        self._min_silence = max(1, round(self.options.min_silence_s / FRAME_S))
        self._max_speech = round(self.options.max_speech_s / FRAME_S)
        self._now = 0  # frames seen
        self._start: int | None = None  # of the open span
        self._last_voiced = 0
        self._open: list[float] = []  # probabilities of the open span, to find the best cut

    @property
    def speaking_since(self) -> int | None:
        """First frame of the span that is open now; None in silence."""
        return self._start

    @property
    def silent_frames(self) -> int:
        """How long nothing has been said within the open span."""
        return self._now - 1 - self._last_voiced if self._start is not None else 0

    def feed(self, probabilities: Iterable[float]) -> Iterator[Span]:
        """Spans that end within these frames."""
        options = self.options
        for probability in probabilities:
            if self._start is None:
                if probability >= options.threshold:
                    self._start, self._open = self._now, []
                    self._last_voiced = self._now
            elif probability >= options.neg_threshold:
                self._last_voiced = self._now
            if self._start is not None:
                self._open.append(probability)
                if self._now - self._last_voiced >= self._min_silence:
                    yield from self._close(self._last_voiced + 1)
                elif len(self._open) >= self._max_speech:
                    yield self._cut()
            self._now += 1

    def flush(self) -> Iterator[Span]:
        """The span that the end of the stream ends, if one is open."""
        if self._start is not None:
            yield from self._close(self._last_voiced + 1)

    def _close(self, end: int) -> Iterator[Span]:
        assert self._start is not None
        if end - self._start >= self._min_speech:
            yield Span(self._start, end)
        self._start = None

    def _cut(self) -> Span:
        """Cut an overlong span where speech is least probable in its second half; the rest stays open."""
        assert self._start is not None
        half = len(self._open) // 2
        at = half + int(np.argmin(self._open[half:]))
        span = Span(self._start, self._start + max(at, 1))
        self._start, self._open = span.end, self._open[max(at, 1) :]
        return span


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """Sound that holds speech, with a little silence around it. Times are places in the recording."""

    start_s: float
    audio: Audio
    speech_start_s: float  # within it, where speech was found
    speech_end_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.audio.duration_s


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How spans of speech are put together for a recognizer."""

    join_gap_s: float = 1.2  # a longer pause always separates
    join_up_to_s: float = 18.0  # spans are joined while the whole stays within this


def speech_chunks(
    blocks: Iterable[Audio],
    vad: SileroVad,
    vad_options: VadOptions | None = None,
    chunk_options: ChunkOptions | None = None,
) -> Iterator[SpeechChunk]:
    """Cut a stream of 16 kHz ``blocks`` into chunks of speech, each short enough for one window of a recognizer.

    Neighbouring spans are joined: a recognizer understands more with more context, and many short windows cost more
    than few long ones. Memory is bounded by the longest chunk, however long the stream.
    """
    chunker = _Chunker(vad, vad_options or VadOptions(), chunk_options or ChunkOptions())
    for block in blocks:
        yield from chunker.feed(block)
    yield from chunker.flush()


class _Chunker:
    """Holds the sound that may still become part of a chunk, and the group of spans that is still growing."""

    def __init__(self, vad: SileroVad, vad_options: VadOptions, options: ChunkOptions) -> None:
        self._stream = vad.stream()
        self._endpointer = Endpointer(vad_options)
        self._options = options
        self._pad = round(vad_options.pad_s * SPEECH_RATE_HZ)
        self._held = np.zeros(0, np.float32)
        self._held_from = 0  # place of _held[0] in the stream; like all places here, in samples
        self._given_to = 0  # end of the chunk before: padding does not reach back into it
        self._group: Span | None = None

    def feed(self, block: Audio) -> Iterator[SpeechChunk]:
        self._held = np.concatenate([self._held, block.samples])
        yield from self._add(self._endpointer.feed(self._stream.feed(block.samples)))
        # Nothing that comes now can begin before this place:
        since = self._endpointer.speaking_since
        frontier = self._held_from + len(self._held) if since is None else since * FRAME
        if self._group and frontier - self._group.end * FRAME > max(
            self._options.join_gap_s * SPEECH_RATE_HZ, self._pad
        ):
            yield self._take()
        first = self._group.start * FRAME if self._group else frontier
        drop = first - FRAME - self._pad - self._held_from
        if drop > 0:
            self._held, self._held_from = self._held[drop:].copy(), self._held_from + drop

    def flush(self) -> Iterator[SpeechChunk]:
        yield from self._add(self._endpointer.flush())
        if self._group:
            yield self._take()

    def _add(self, spans: Iterable[Span]) -> Iterator[SpeechChunk]:
        for span in spans:
            if self._group and not self._joins(span):
                yield self._take()
            self._group = Span(self._group.start if self._group else span.start, span.end)

    def _joins(self, span: Span) -> bool:
        assert self._group is not None
        gap_s = (span.start - self._group.end) * FRAME_S
        whole_s = (span.end - self._group.start) * FRAME_S
        return gap_s <= self._options.join_gap_s and whole_s <= self._options.join_up_to_s

    def _take(self) -> SpeechChunk:
        assert self._group is not None
        start = max(self._group.start * FRAME - self._pad, self._given_to, self._held_from)
        end = self._group.end * FRAME + self._pad
        samples = self._held[start - self._held_from : end - self._held_from].copy()
        speech_s = self._group.start * FRAME_S, self._group.end * FRAME_S
        self._group, self._given_to = None, start + len(samples)
        return SpeechChunk(start / SPEECH_RATE_HZ, Audio(samples, SPEECH_RATE_HZ), *speech_s)
