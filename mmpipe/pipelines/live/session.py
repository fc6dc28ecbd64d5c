"""A live session: sound goes in as it is spoken, events come out while the person is still talking.

Three lanes run beside one another. Recognition hears a window, then the newest one that there is by then: when the
machine is busy, windows grow apart and partial captions thin out by themselves, but nothing that is final is lost.
Translation takes committed sentences in order. Speech takes translations in order and may fall behind without delaying
the captions. All sessions of a process share the models, through batchers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from mmpipe.audio.recognition import load_recogniser
from mmpipe.audio.synthesis import Speaker
from mmpipe.audio.vad import SileroVad
from mmpipe.batching import Clock, MonotonicClock, Priority
from mmpipe.errors import LanguageError, MmpipeError
from mmpipe.pipelines.batchers import Batchers
from mmpipe.pipelines.live.ears import EarOptions, Ears, Window
from mmpipe.pipelines.live.events import Committed, Ended, Event, Partial, Spoken, Stats, Translated, Warned
from mmpipe.pipelines.sentences import SentenceAssembler
from mmpipe.stage import Recogniser, Synthesiser, Translator
from mmpipe.translate import Glossary, TextTranslator
from mmpipe.types import RecognitionOptions, Segment, SpeechWindow, Word

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What one session wants."""

    to: str | None = None  # language to translate into; None: captions only
    source: str | None = None  # language that is spoken; None: detect it
    between: tuple[str, str] | None = None  # two-way: whatever is said in one is translated into the other
    speak: bool = False  # also speak the translation
    voice: str | None = None
    speed: float = 1.0
    hotwords: tuple[str, ...] = ()
    draft: bool = True  # translate what is not final yet, too
    ears: EarOptions = field(default_factory=EarOptions)
    #: Sentences waiting to be spoken beyond which the oldest are dropped: the voice must not fall behind for ever.
    max_to_speak: int = 6
    stats_every_s: float = 5.0
    #: Speech without a word understood for this long is worth a warning.
    warn_after_s: float = 20.0


class LiveModels:
    """The models that all sessions of a process share. A context manager."""

    def __init__(
        self,
        recogniser: Recogniser | str = "whisper-base",
        *,
        translators: list[Translator] | None = None,
        synthesisers: list[Synthesiser] | None = None,
        glossary: Glossary | None = None,
    ) -> None:
        self.batchers = Batchers(Priority.INTERACTIVE)
        self.recogniser = recogniser if isinstance(recogniser, Recogniser) else load_recogniser(recogniser)
        self.vad = SileroVad()
        self.translator = TextTranslator(translators, glossary=glossary, runner=self.batchers)
        self.speaker = Speaker(synthesisers, runner=self.batchers)
        self._threads = ThreadPoolExecutor(32, thread_name_prefix="mmpipe-live")
        # Half of what an engine takes at once: here a result that comes soon is worth more than the last tenth of
        # throughput.
        self._batch = -(-self.recogniser.max_items // 2)
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Held by a session while its window is recognised: one batch computes, the next one waits.

        A session takes its window when it has got a turn, so that on a busy machine the window holds what was said
        while the session waited.
        """
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(2 * self._batch))

    async def recognise(self, window: SpeechWindow, session: object) -> Segment:
        return await self.batchers.of(self.recogniser, self._batch).aio(window, session=session)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def close(self) -> None:
        self.batchers.close()
        self.translator.close()
        self.speaker.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> LiveModels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LiveSession:
    """One speaker. Feed it by :meth:`push` and :meth:`finish`, read it by :meth:`events`.

    A failure of a stage ends the session with a reason when it hits recognition, and is a warning when it hits
    translation or speech: captions matter most.
    """

    def __init__(
        self,
        models: LiveModels,
        options: LiveOptions | None = None,
        clock: Clock | None = None,
        name: str = "live session",
    ) -> None:
        self.options = options or LiveOptions()
        self.name = name  # in the log
        self._models = models
        self._clock = clock or MonotonicClock()
        self._began_s = self._clock.now_s()
        self._ears = Ears(models.vad, self.options.ears)
        self._assembler = SentenceAssembler()
        self._language = self.options.source
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._seq = 0
        self._wake = asyncio.Event()
        self._no_more = False
        self._to_translate: asyncio.Queue[tuple[Segment, float] | None] = asyncio.Queue()
        self._to_speak: asyncio.Queue[tuple[Segment, str, str] | None] = asyncio.Queue()
        self._busy = 0  # lanes that are computing
        self._spent_s = 0.0  # in recognition
        self._recognised_s = 0.0
        self._dropped_partials = self._dropped_speech = 0
        self._silent_since_s = 0.0
        self._last_stats_s = 0.0
        self._drafted = ""
        self._shown = False  # whether a partial caption is on the screen
        self._background: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None

    # --- what the caller does ---

    def push(self, samples: np.ndarray) -> None:
        """Hear ``samples``: 16 kHz, float32 of shape (n,). Returns at once."""
        self._start()
        self._ears.push(samples)
        self._wake.set()

    def finish(self) -> None:
        """No more sound will come: what was said is still recognised, translated and spoken, then the session ends."""
        self._start()
        self._ears.finish()
        self._no_more = True
        self._wake.set()

    async def events(self) -> AsyncIterator[Event]:
        """All events, in order; the last one is :class:`Ended`."""
        self._start()
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self, reason: str = "closed") -> None:
        """End the session now. What was committed is kept; what was not is dropped."""
        self._start()
        assert self._runner is not None
        if not self._runner.done():
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._emit(Ended, reason=reason)
            self._events.put_nowait(None)

    @property
    def idle(self) -> bool:
        """Whether everything that was heard has been worked off."""
        return not (self._busy or self._wake.is_set() or self._to_translate.qsize() or self._to_speak.qsize())

    # --- the lanes ---

    def _start(self) -> None:
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        reason = "finished"
        lanes = [asyncio.create_task(lane) for lane in (self._recognise(), self._translate(), self._speak())]
        try:
            await asyncio.gather(*lanes)
        except MmpipeError as error:
            logger.exception("%s ended by a failing stage", self.name)
            reason = str(error)
        except Exception:
            logger.exception("%s ended by an internal error", self.name)
            reason = "internal error"
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        self._emit(Ended, reason=reason)
        self._events.put_nowait(None)

    async def _recognise(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ears.ready:
                await self._working(self._hear())
            if self._shown and not self._ears.tail:
                self._show((), self._language or "")
            self._report()
            if self._no_more and not self._wake.is_set():
                break
        self._flush()
        self._to_translate.put_nowait(None)

    async def _hear(self) -> None:
        async with self._models.turn():
            window = self._ears.next_window()
            if window is None:  # the speaker has stopped while it waited: the last window comes soon
                return
            segment = await self._listen(window)
        self._settle_language(segment)
        update = self._ears.understood(window, segment)
        if update.committed:
            self._commit(update.committed, segment)
        if window.last:
            self._flush()
        self._show(update.tail, segment.language)
        self._warn_if_silent(window, bool(segment.text))

    async def _listen(self, window: Window) -> Segment:
        began_s = self._clock.now_s()
        # a short window is heard again soon, as part of a longer one
        second_try = window.last or window.audio.duration_s > self.options.ears.trim_from_s
        options = RecognitionOptions(
            language=self._language, words=True, hotwords=self.options.hotwords, second_try=second_try
        )
        step_s = self.options.ears.step_s
        self._dropped_partials += max(0, int((window.end_s - max(self._recognised_s, window.start_s)) / step_s) - 1)
        segment = await self._models.recognise(SpeechWindow(window.audio, options), self)
        self._spent_s += self._clock.now_s() - began_s
        self._recognised_s = window.end_s
        return segment

    def _settle_language(self, segment: Segment) -> None:
        """Keep a detected language once it is sure; in two-way mode and without one, each window is asked anew."""
        if self.options.between is None and self._language is None and (segment.language_probability or 0) > 0.8:
            self._language = segment.language

    def _commit(self, words: tuple[Word, ...], segment: Segment) -> None:
        text = join(words, segment.language)
        start_s, end_s = words[0].start_s, words[-1].end_s
        self._emit(
            Committed,
            start_s=start_s,
            end_s=end_s,
            heard_until_s=self._recognised_s,
            text=text,
            language=segment.language,
            words=words,
        )
        piece = replace(segment, start_s=start_s, end_s=end_s, text=text, words=words)
        for sentence in self._assembler.feed(piece):
            self._to_translate.put_nowait((sentence, self._recognised_s))

    def _flush(self) -> None:
        """The utterance is over: so is the sentence, whether it had a full stop or not."""
        for sentence in self._assembler.flush():
            self._to_translate.put_nowait((sentence, self._recognised_s))

    def _show(self, tail: tuple[Word, ...], language: str) -> None:
        """Show what may still change; nothing clears what was shown."""
        if not (tail or self._shown):
            return
        self._shown = bool(tail)
        heard_s = self._recognised_s
        start_s, end_s = (tail[0].start_s, tail[-1].end_s) if tail else (heard_s, heard_s)
        text = join(tail, language)
        self._emit(Partial, start_s=start_s, end_s=end_s, heard_until_s=heard_s, text=text, language=language)
        if tail:
            self._draft(tail, language)

    def _draft(self, tail: tuple[Word, ...], language: str) -> None:
        """Translate the sentence that is being said, as far as it goes. Only if nothing final is waiting."""
        target = self._target(language)
        if not (self.options.draft and target) or self._to_translate.qsize():
            return
        begun = self._assembler.tail
        words = (*(begun.words if begun else ()), *tail)
        text = join(words, language)
        if text != self._drafted:
            self._drafted = text
            draft = Segment(words[0].start_s, words[-1].end_s, text, language, words)
            self._in_background(self._translate_one(draft, target, self._recognised_s, final=False))

    def _target(self, language: str) -> str | None:
        if self.options.between:
            one, other = self.options.between
            return other if language == one else one
        return self.options.to if self.options.to != language else None

    async def _translate(self) -> None:
        while (item := await self._to_translate.get()) is not None:
            sentence, heard_until_s = item
            if target := self._target(sentence.language):
                await self._working(self._translate_one(sentence, target, heard_until_s, final=True))
        self._to_speak.put_nowait(None)

    async def _translate_one(self, sentence: Segment, target: str, heard_until_s: float, *, final: bool) -> None:
        translate = self._models.translator.translate
        try:
            translation = await self._models.in_thread(translate, sentence.text, sentence.language, target)
        except LanguageError as error:
            self._warn(str(error))
            return
        except MmpipeError as error:
            if final:
                logger.exception("%s: a sentence could not be translated", self.name)
                self._warn(f"A sentence could not be translated: {error}")
            return
        if not final and sentence.text != self._drafted:
            return  # a newer draft, or the sentence itself, is on its way
        self._emit(
            Translated,
            start_s=sentence.start_s,
            end_s=sentence.end_s,
            heard_until_s=heard_until_s,
            text=translation.text,
            source_text=sentence.text,
            language=target,
            final=final,
        )
        if final:
            self._drafted = ""
            if self.options.speak:
                self._to_speak.put_nowait((sentence, translation.text, target))

    async def _speak(self) -> None:
        while (item := await self._to_speak.get()) is not None:
            while self._to_speak.qsize() > self.options.max_to_speak:
                dropped, self._dropped_speech = item, self._dropped_speech + 1
                logger.info("%s: not spoken, the voice is behind: %r", self.name, dropped[1])
                following = self._to_speak.get_nowait()
                if following is None:
                    self._to_speak.put_nowait(None)
                    break
                item = following
            await self._working(self._speak_one(*item))

    async def _speak_one(self, sentence: Segment, text: str, language: str) -> None:
        options = self.options
        try:
            pieces = self._models.speaker.stream(text, language, options.voice, options.speed)
            while (audio := await self._models.in_thread(next, pieces, None)) is not None:
                self._emit(Spoken, start_s=sentence.start_s, end_s=sentence.end_s, text=text, audio=audio)
        except MmpipeError as error:
            logger.exception("%s: a sentence could not be spoken", self.name)
            self._warn(f"A sentence could not be spoken: {error}")

    # --- small things ---

    async def _working(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy += 1
        try:
            await work
        finally:
            self._busy -= 1

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._working(work))
        self._background.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._background.discard)

    def _emit(self, kind: type[Event], **values: object) -> None:
        self._seq += 1
        self._events.put_nowait(kind(seq=self._seq, emitted_s=self._clock.now_s() - self._began_s, **values))

    def _warn(self, text: str) -> None:
        self._emit(Warned, text=text)

    def _warn_if_silent(self, window: Window, understood: bool) -> None:
        if understood or window.last:
            self._silent_since_s = window.end_s
        elif window.end_s - self._silent_since_s > self.options.warn_after_s:
            self._silent_since_s = window.end_s
            self._warn("Somebody speaks, but nothing is understood. Is it the right language and microphone?")

    def _report(self) -> None:
        heard_s = self._ears.received_s
        if heard_s - self._last_stats_s < self.options.stats_every_s:
            return
        self._last_stats_s = heard_s
        self._emit(
            Stats,
            heard_s=heard_s,
            lag_s=max(0.0, heard_s - self._recognised_s) if self._ears.speaking else 0.0,
            real_time_factor=self._spent_s / max(heard_s, 1e-3),
            to_translate=self._to_translate.qsize(),
            to_speak=self._to_speak.qsize(),
            dropped_partials=self._dropped_partials,
            dropped_speech=self._dropped_speech,
        )


def join(words: tuple[Word, ...], language: str) -> str:
    """The text of ``words``, with the spaces the language wants."""
    from mmpipe.translate.text import UNSPACED

    return ("" if language in UNSPACED else " ").join(word.text for word in words)
