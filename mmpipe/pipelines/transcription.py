"""A recording in, recognized segments out: decode, find the speech, recognize it in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mmpipe.audio import media
from mmpipe.audio.vad import ChunkOptions, SpeechChunk, VadOptions, speech_chunks
from mmpipe.batching import Priority
from mmpipe.pipelines.engines import Engines
from mmpipe.types import RecognitionOptions, Segment, SpeechWindow, Transcript

#: Windows of one recording that may be under way at once: enough to fill a batch while the next one is cut.
AHEAD = 16
#: The language of a recording is settled by the first window that is this sure of it, or by this many windows.
SURE = 0.7
MAX_UNSURE = 3
#: Voice activity is told in steps of 32 ms, and is sure of itself a little after a soft sound has begun.
_EDGE_S = 0.1


class Transcriber:
    """Recognizes recordings of any length. Share one between threads: their windows share batches.

    ``engines``: whose recognizer; None: Whisper base, loaded for this. A context manager.

    >>> with Transcriber() as transcribe:  # doctest: +SKIP
    ...     print(transcribe("talk.mp3").text)
    """

    def __init__(
        self,
        engines: Engines | None = None,
        *,
        options: RecognitionOptions | None = None,
        vad_options: VadOptions | None = None,
        chunk_options: ChunkOptions | None = None,
    ) -> None:
        self.options = options or RecognitionOptions(word_timestamps=True)
        self._made_here = ExitStack()
        self.engines = engines or self._made_here.enter_context(Engines())
        self.recognizer, self._vad = self.engines.recognizer, self.engines.vad
        self._vad_options, self._chunk_options = vad_options, chunk_options

    def __call__(self, source: media.Source, options: RecognitionOptions | None = None) -> Transcript:
        """All of ``source``.

        Raises:
            MediaError: it cannot be read, or has no sound.
            LanguageError: the recognizer does not know the language.
        """
        segments = tuple(self.stream(source, options))
        language = segments[0].language if segments else (options or self.options).language or ""
        probability = segments[0].language_probability if segments else None
        duration_s = media.probe(source).duration_s if isinstance(source, str | Path | media.IsolatedMedia) else None
        return Transcript(segments, language, duration_s or (segments[-1].end_s if segments else 0.0), probability)

    def stream(
        self, source: media.Source, options: RecognitionOptions | None = None, *, start_s: float = 0.0
    ) -> Iterator[Segment]:
        """Segments as they are recognized, in order, each with its place in the recording.

        ``start_s`` skips what comes before; times still count from the beginning. Segments without words are left
        out.

        Raises:
            MediaError, LanguageError: as for a call.
        """
        settled = options or self.options
        chunks = speech_chunks(media.stream(source, start_s=start_s), self._vad, self._vad_options, self._chunk_options)
        session = object()  # the batcher takes turns between recordings
        batcher = self.engines.batchers.of(self.recognizer)
        pending: deque[tuple[SpeechChunk, Future[Segment]]] = deque()
        unsure: list[Segment] = []

        def submit(chunk: SpeechChunk) -> None:
            window = SpeechWindow(chunk.audio, settled)
            pending.append((chunk, batcher.submit(window, session=session, priority=Priority.BULK, block=True)))

        def finished() -> Segment:
            chunk, future = pending.popleft()
            return _within_speech(future.result().shifted(chunk.start_s), chunk).shifted(start_s)

        try:
            for chunk in chunks:
                submit(chunk)
                while pending and (settled.language is None or len(pending) >= AHEAD or pending[0][1].done()):
                    segment = finished()
                    if settled.language is None and segment.text:
                        unsure.append(segment)
                        settled = replace(settled, language=_settled(unsure))
                    if segment.text:
                        yield segment
            while pending:
                segment = finished()
                if segment.text:
                    yield segment
        finally:  # the caller stopped early, or something failed
            for _, future in pending:
                future.cancel()

    def detect_language(self, source: media.Source, options: RecognitionOptions | None = None) -> str | None:
        """The language of the first window of speech in ``source``; None if nothing is said.

        Raises:
            MediaError: it cannot be read, or has no sound.
        """
        options = replace(options or self.options, language=None, task="transcribe")
        for segment in self.stream(source, options):
            return segment.language
        return None

    def close(self) -> None:
        """Free the models that were loaded here."""
        self._made_here.close()

    def __enter__(self) -> Transcriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _within_speech(segment: Segment, chunk: SpeechChunk) -> Segment:
    """``segment`` without the silence that was left around the speech: cross-attention gives it to the nearest word."""
    first_s, last_s = chunk.speech_start_s - _EDGE_S, chunk.speech_end_s + _EDGE_S

    def clipped(time_s: float) -> float:
        return min(max(time_s, first_s), last_s)

    words = tuple(replace(w, start_s=clipped(w.start_s), end_s=clipped(w.end_s)) for w in segment.words)
    return replace(segment, start_s=clipped(segment.start_s), end_s=clipped(segment.end_s), words=words)


def _settled(segments: list[Segment]) -> str | None:
    """The language of the recording as far as these first segments tell; None while they do not."""
    last = segments[-1]
    if (last.language_probability or 0.0) >= SURE:
        return last.language
    if len(segments) < MAX_UNSURE:
        return None
    weights: dict[str, float] = {}
    for segment in segments:
        weights[segment.language] = weights.get(segment.language, 0.0) + (segment.language_probability or 0.0)
    return max(weights, key=lambda language: weights[language])
