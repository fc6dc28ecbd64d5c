"""Speech in one language to speech in another: recognize, translate, speak, all three at the same time.

While sentence n is spoken, n+1 is translated and n+2 recognized; recordings that are translated at the same time
share the batches of every stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mmpipe.audio import media
from mmpipe.batching import Priority
from mmpipe.errors import InputError
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.journal import Journal
from mmpipe.pipelines.sentences import SentenceAssembler
from mmpipe.pipelines.track import SpeechTrack
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.subtitles import render
from mmpipe.translate import Glossary
from mmpipe.types import TIERS, Audio, RecognitionOptions, Segment, Tier, TranslatedSegment, Translation, joined

#: Sentences of one recording that may be under way between recognition and the caller.
AHEAD = 8
#: A dubbed sentence is spoken at most this much faster than the voice's own pace: beyond it words blur.
MAX_DUB_SPEED = 1.5

#: What Whisper's own translation into English is worth (measured by `mmpipe bench into-english`).
SPEECH_TIER = Tier.GIST

Via = Literal["auto", "text", "speech"]
#: What is done with a sentence, in order.
Step = Literal["recognized", "translated", "spoken"]
#: Told that what ends so many seconds into the recording has come so far; by several threads, in any order.
Watch = Callable[[Step, float], object]


@dataclass(frozen=True)
class TranslatedRecording:
    """Everything that was said in one recording, translated, in order."""

    segments: tuple[TranslatedSegment, ...]
    target: str

    @cached_property
    def text(self) -> str:
        return joined((segment.translation.text for segment in self.segments), self.target)

    @cached_property
    def source_text(self) -> str:
        return joined(
            (segment.source.text for segment in self.segments),
            self.segments[0].source.language if self.segments else "",
        )

    def subtitles(self, kind: str = "srt", *, bilingual: bool = False) -> str:
        """As "srt", "vtt", "txt", "json" or "jsonl"."""
        return render(self.segments, kind, bilingual=bilingual)

    def save_speech(self, path: str | Path, *, dub: bool = False) -> None:
        """Write the spoken translation; ``dub``: each sentence at the time of its source.

        Raises:
            InputError: the suffix of ``path`` is no sound format.
            OutputError: it cannot be written.
        """
        with SpeechTrack(Path(path), dub=dub) as track:
            for segment in self.segments:
                track.add(segment)


class SpeechTranslator:
    """Translates recordings of any length into text and speech. Share one between threads.

    ``to``, ``source``: languages in ISO 639-1; ``source`` None: detect it. ``via``: "speech" has the recognizer
    translate into English straight from the sound, and goes on from there; "text" recognizes first and then
    translates; "auto" takes the better way that there is.
    ``engines``: whose; None: the built-in ones, loaded for this. A context manager.

    >>> with SpeechTranslator(to="pt") as translate:  # doctest: +SKIP
    ...     result = translate("talk.mp3")
    >>> result.save_speech("talk.pt.wav")  # doctest: +SKIP

    Raises:
        WeightsError, MissingDependencyError: an engine cannot be had.
        LanguageError: nothing can speak, or translate into, the language.
    """

    def __init__(
        self,
        to: str,
        engines: Engines | None = None,
        *,
        source: str | None = None,
        glossary: Glossary | None = None,
        voice: str | None = None,
        speed: float = 1.0,
        via: Via = "auto",
        options: RecognitionOptions | None = None,
    ) -> None:
        self.to, self.voice, self.speed, self.via = to, voice, speed, via
        self.options = replace(options or RecognitionOptions(), language=source, word_timestamps=True)
        self._made_here = ExitStack()
        self.engines = engines or self._made_here.enter_context(Engines())
        self._terms = [astuple(term) for term in glossary.terms] if glossary else []
        self.transcriber = Transcriber(self.engines, options=self.options)
        bulk = self.engines.batchers.at(Priority.BULK)  # whoever waits for an answer comes first
        self.translator = self.engines.text_translator(glossary, bulk)
        self.text_to_speech = self.engines.text_to_speech(bulk)

    def identity(self) -> dict[str, Any]:
        """What, besides the recording, decides the result: a job with another identity cannot be resumed."""
        return {
            "to": self.to,
            "voice": self.voice,
            "speed": self.speed,
            "via": self.via,
            "options": asdict(self.options),
            **self.engines.identity(),
            "glossary": self._terms,
        }

    def __call__(self, source: media.Source, *, speak: bool = True, dub: bool = False) -> TranslatedRecording:
        """All of ``source``. Holds all the speech in memory: for hours of it use :meth:`stream`.

        Raises: as :meth:`stream`.
        """
        return TranslatedRecording(tuple(self.stream(source, speak=speak, dub=dub)), self.to)

    def stream(
        self,
        source: media.Source,
        *,
        speak: bool = True,
        dub: bool = False,
        journal: Journal | None = None,
        watch: Watch = lambda step, end_s: None,
    ) -> Iterator[TranslatedSegment]:
        """Sentences as they are ready, in order.

        ``speak``: with their speech. ``dub``: speak so fast that it fits the time of the source, within reason.
        ``journal``: begin with what it holds of an earlier run, and note what is finished. ``watch``: told how far
        each stage is.

        Raises:
            MediaError: ``source`` cannot be read, or has no sound.
            LanguageError: there is no way from its language to the target, or no voice.
            InputError: its language is to be detected, and it is an open file that cannot be read twice.
        """
        options = self.options
        if speak:
            self.text_to_speech.check(self.to, self.voice)
        if journal is not None:
            yield from journal.replay()
            options = replace(options, language=journal.language or options.language)
        start_s = journal.resume_s if journal is not None else 0.0
        pending: deque[tuple[Future[TranslatedSegment], float | None]] = deque()

        def take() -> TranslatedSegment:
            future, resume_s = pending.popleft()
            item = future.result()
            if journal is not None:
                journal.add(item, resume_s)
            return item

        with ThreadPoolExecutor(AHEAD, thread_name_prefix="mmpipe-sentence") as pool:
            try:
                for planned in self._plan(source, options, start_s, watch):
                    slot_s = planned.slot_s if dub else None
                    pending.append((pool.submit(self._finish, planned, speak, slot_s, watch), planned.resume_s))
                    while pending and (len(pending) >= AHEAD or pending[0][0].done()):
                        yield take()
                while pending:
                    yield take()
            finally:  # the caller stopped early, or a sentence failed
                for future, _ in pending:
                    future.cancel()

    def _plan(
        self, source: media.Source, options: RecognitionOptions, start_s: float, watch: Watch
    ) -> Iterator[_Planned]:
        """The sentences of ``source``, each with what can only be known from the one after it."""
        spoken, options = self._choose_way(source, options)
        assembler = SentenceAssembler()

        def found() -> Iterator[tuple[Segment, bool]]:
            for segment in self.transcriber.stream(source, options, start_s=start_s):
                watch("recognized", segment.end_s)
                sentences = list(assembler.feed(segment))
                for n, sentence in enumerate(sentences, 1):
                    yield sentence, n == len(sentences) and assembler.empty
            for sentence in assembler.flush():
                yield sentence, True

        held: tuple[Segment, bool] | None = None
        for following in found():
            if held:
                sentence, clean = held
                pause_s = following[0].start_s - sentence.end_s
                # in the pause after a sentence that no recognized window reaches over, a later run can go on
                resume_s = sentence.end_s + pause_s / 2 if clean and pause_s > 0 else None
                yield _Planned(sentence, spoken, following[0].start_s - sentence.start_s, resume_s)
            held = following
        if held:
            yield _Planned(held[0], spoken, None, None)

    def _choose_way(self, source: media.Source, options: RecognitionOptions) -> tuple[str | None, RecognitionOptions]:
        """Decide between text and speech. Gives the language of the recording if it is to be translated as speech."""
        if self.via == "text" or options.language == self.to:
            return None, options
        language = options.language or self._detected(source, options)
        options = replace(options, language=language)
        if language in (None, "en", self.to) or not self._speech_is_better(str(language)):
            return None, options
        return language, replace(options, task="translate")

    def _detected(self, source: media.Source, options: RecognitionOptions) -> str | None:
        if not isinstance(source, str | Path | media.IsolatedMedia) and not source.seekable():
            raise InputError(
                "The language of this source is not known, and it cannot be read twice to find it out: name the "
                "language (source=...), or use via='text'."
            )
        return self.transcriber.detect_language(source, options)

    def _speech_is_better(self, language: str) -> bool:
        """Whether translation to English straight from speech, and on from there, beats the best way through text."""
        if self.via == "speech":
            return True
        text = self.translator.tier(language, self.to)
        if self.to == "en":  # measured: at equal tiers speech is ahead by a point of chrF
            return text is None or TIERS.index(text) >= TIERS.index(SPEECH_TIER)
        onward = self.translator.tier("en", self.to)
        if onward is None:
            return False
        spoken = max(SPEECH_TIER, onward, key=TIERS.index)
        return text is None or TIERS.index(text) > TIERS.index(spoken)  # at equal tiers, text gives a transcript too

    def _translate(self, planned: _Planned) -> Translation:
        sentence = planned.sentence
        if planned.spoken is None:
            return self.translator.translate(sentence.text, sentence.language, self.to)
        step = f"whisper {planned.spoken}>en"
        if self.to == "en":
            return Translation("", sentence.text, planned.spoken, self.to, (step,), SPEECH_TIER)
        onward = self.translator.translate(sentence.text, "en", self.to)
        tier = max(SPEECH_TIER, onward.tier, key=TIERS.index)
        return Translation("", onward.text, planned.spoken, self.to, (step, *onward.route), tier)

    def _finish(self, planned: _Planned, speak: bool, slot_s: float | None, watch: Watch) -> TranslatedSegment:
        translation = self._translate(planned)
        watch("translated", planned.sentence.end_s)
        speech = None
        if speak:
            speech = self._speak(translation.text, slot_s)
            watch("spoken", planned.sentence.end_s)
        return TranslatedSegment(planned.sentence, translation, speech)

    def _speak(self, text: str, slot_s: float | None) -> Audio:
        """Speech of ``text``, faster than usual if it would not fit into ``slot_s``."""
        speed = self.speed
        if slot_s is not None:
            expected_s = self.text_to_speech.estimate_s(text, self.to, self.voice, speed)
            speed = _fitting(speed, expected_s, slot_s)
        speech: Audio = self.text_to_speech.speak(text, self.to, self.voice, speed)
        if slot_s is not None and speech.duration_s > slot_s * 1.1:  # the estimate was too low
            faster = _fitting(speed, speech.duration_s, slot_s)
            if faster > speed * 1.05:
                speech = self.text_to_speech.speak(text, self.to, self.voice, faster)
        return speech

    def close(self) -> None:
        """Free the models that were loaded here."""
        self._made_here.close()

    def __enter__(self) -> SpeechTranslator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Planned:
    sentence: Segment
    spoken: str | None  # language of the recording, where the recognizer translates it into English itself
    slot_s: float | None  # from its start to the start of the next one
    resume_s: float | None  # where a later run may go on once this sentence is finished


def _fitting(speed: float, duration_s: float, slot_s: float) -> float:
    """The speed at which what now takes ``duration_s`` fits into ``slot_s``, within reason."""
    return min(max(speed, speed * duration_s / max(slot_s, 0.1)), max(speed, MAX_DUB_SPEED))
