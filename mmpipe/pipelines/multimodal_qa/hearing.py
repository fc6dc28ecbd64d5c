"""Spoken questions: heard first, then asked as text."""

from __future__ import annotations

from collections.abc import AsyncIterable

import numpy as np

from mmpipe.audio import media
from mmpipe.audio.containers import describe
from mmpipe.audio.vad import FRAME, Endpointer, VadOptions, speech_chunks
from mmpipe.errors import MediaError
from mmpipe.pipelines.engines import Engines
from mmpipe.types import SPEECH_RATE_HZ, Audio, RecognitionOptions, SpeechWindow, joined

#: Nobody asks for longer in one breath; what is longer is a recording of something else.
MAX_QUESTION_S = 120.0
#: A question is over when nothing was said for so long.
END_OF_QUESTION_S = 1.0


class SpokenQuestionRecognizer:
    """Recognizes what was asked, with the recognizer of ``engines``. Share one between threads."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def hear(self, question: Audio, language: str | None = None) -> tuple[str, str]:
        """What is said in ``question``, and its language. ``language``: if it is known; ISO 639-1.

        Raises:
            MediaError: nothing is said, or for longer than :data:`MAX_QUESTION_S`.
            LanguageError: the recognizer does not know the language.
        """
        if question.duration_s > MAX_QUESTION_S:
            raise MediaError(
                f"The spoken question lasts {question.duration_s:.0f} s; up to {MAX_QUESTION_S:.0f} s are listened to. "
                "Cut it, or transcribe it with mmpipe transcribe"
            )
        speech = speech_chunks([media.resample(question, SPEECH_RATE_HZ)], self._engines.vad)
        windows = [SpeechWindow(chunk.audio, RecognitionOptions(language=language)) for chunk in speech]
        segments = self._engines.batchers(self._engines.recognizer, windows)
        heard = [segment for segment in segments if segment.text]
        if not heard:
            raise MediaError("No speech detected in the spoken question. Say it again")
        return joined((segment.text for segment in heard), heard[0].language), heard[0].language

    async def listen(self, blocks: AsyncIterable[Audio]) -> Audio:
        """What is said in ``blocks`` (16 kHz, as they come), up to the first long pause or :data:`MAX_QUESTION_S`.

        Raises:
            MediaError: they end before anything is said.
        """
        pauses = VadOptions(min_silence_s=END_OF_QUESTION_S, max_speech_s=MAX_QUESTION_S)
        stream, endpointer = self._engines.vad.stream(), Endpointer(pauses)
        pad = round(pauses.pad_s * SPEECH_RATE_HZ)
        held, first = np.zeros(0, np.float32), 0  # place of held[0] in the stream
        async for block in blocks:
            held = np.concatenate([held, block.samples])
            for span in endpointer.feed(stream.feed(block.samples)):
                return Audio(held[max(span.start * FRAME - pad - first, 0) : span.end * FRAME + pad - first])
            if endpointer.speaking_since is None and len(held) > 2 * pad:  # silence so far
                first += len(held) - 2 * pad
                held = held[-2 * pad :].copy()
        if endpointer.speaking_since is None:
            raise MediaError("Nothing was said. Ask again, or type the question")
        return Audio(held)


def load_question(source: media.Source) -> Audio:
    """A recording of a question.

    Raises:
        MediaError: it cannot be read, or is longer than :data:`MAX_QUESTION_S`.
    """
    duration_s = media.probe(source).duration_s
    if duration_s is not None and duration_s > MAX_QUESTION_S:
        raise MediaError(
            f"{describe(source)!r} lasts {duration_s:.0f} s; a spoken question may last {MAX_QUESTION_S:.0f} s. Cut it"
        )
    return media.load(source, max_duration_s=MAX_QUESTION_S)
