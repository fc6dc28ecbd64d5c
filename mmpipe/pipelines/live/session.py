"""A live session: sound goes in as it is spoken, events come out while the person is still talking.

Three lanes run beside one another. Recognition hears a window, then the newest one that there is by then: when the
machine is busy, windows grow apart and partial captions thin out by themselves, but nothing that is final is lost.
Translation takes committed sentences in order. The voice (:mod:`~mmpipe.pipelines.live.voice`) takes translations in
order and may fall behind without delaying the captions. All sessions of a process share the models, through batchers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np

from mmpipe.batching import Clock, MonotonicClock
from mmpipe.errors import LanguageError, MmpipeError
from mmpipe.logs import without_text
from mmpipe.pipelines.live.events import (
    CommittedEvent,
    EndedEvent,
    Event,
    InterruptedEvent,
    LanguageEvent,
    PartialEvent,
    SpokenEvent,
    StatsEvent,
    TranslatedEvent,
    WarningEvent,
)
from mmpipe.pipelines.live.language import SpokenLanguage
from mmpipe.pipelines.live.models import LiveModels
from mmpipe.pipelines.live.options import LiveOptions
from mmpipe.pipelines.live.segmenter import StreamSegmenter, Window
from mmpipe.pipelines.live.voice import Saying, VoiceLane
from mmpipe.pipelines.sentences import SentenceAssembler
from mmpipe.types import SPEECH_RATE_HZ, Audio, RecognitionOptions, Segment, SpeechWindow, Word, joined

logger = logging.getLogger(__name__)

#: A source that can wait, a file for example, waits while recognition is this much behind.
WAIT_BEHIND_S = 5.0


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
        self._segmenter = StreamSegmenter(models.vad, self.options.segmenter)
        self._assembler = SentenceAssembler()
        self._spoken = SpokenLanguage(self.options.source, self.options.between)
        self._announced = self.options.source  # the language that the caller knows
        self._voice = VoiceLane(models, self.options, name, self._speak, self._warn)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._seq = 0
        self._wake = asyncio.Event()
        self._no_more = False
        self._to_translate: asyncio.Queue[tuple[Segment, float] | None] = asyncio.Queue()
        self._busy = 0  # computations under way, the voice's apart
        self._spent_s = 0.0  # in recognition
        self._recognized_s = 0.0  # end of the last window
        self._calm_s = 0.0  # to here all is worked off and nobody was speaking
        self._taken_s = 0.0  # to here recognition has looked, and has taken what there was to take
        self._utterance_s: float | None = None  # start of the one that is being recognized
        self._dropped_partials = 0
        self._unheard_s = 0.0
        self._silent_since_s = 0.0
        self._warned: set[str] = set()  # about what, where once is enough
        self._last_stats_s = 0.0
        self._drafted = ""
        self._shown = False  # whether a partial caption is on the screen
        self._drafting: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()  # recognition has caught up a little
        self._runner: asyncio.Task[None] | None = None

    # --- what the caller does ---

    def push(self, samples: np.ndarray) -> None:
        """Hear ``samples``: 16 kHz, float32 of shape (n,). Returns at once."""
        self._start()
        if self._over:  # nobody hears it any more
            return
        if self._voice.input_muted:
            self._unheard_s += len(samples) / SPEECH_RATE_HZ
            samples = np.zeros_like(samples)  # and not nothing: time goes on
        self._segmenter.push(samples)
        self._voice.advance(self._segmenter.received_s)
        self._wake.set()

    def finish(self) -> None:
        """No more sound will come: what was said is still recognized, translated and spoken, then the session ends."""
        self._start()
        self._segmenter.finish()
        self._voice.finish()
        self._no_more = True
        self._wake.set()

    async def listen(self, sound: AsyncIterable[Audio], playing: Callable[[], bool | None] = lambda: None) -> None:
        """Push all of ``sound`` (16 kHz), then finish, also when it fails. A source that can wait is made to.

        It ends with the session at the latest, even while ``sound`` is silent: a microphone never ends by itself.

        ``playing``: whether a loudspeaker plays the voice now, asked at every block; None: not known.

        Raises: what ``sound`` raises.
        """
        self._start()
        assert self._runner is not None
        pushing = asyncio.create_task(self._push_all(sound, playing))
        try:
            await asyncio.wait([pushing, self._runner], return_when=asyncio.FIRST_COMPLETED)
            if pushing.done():
                pushing.result()
        finally:
            pushing.cancel()
            self.finish()
            await asyncio.gather(pushing, return_exceptions=True)

    async def _push_all(self, sound: AsyncIterable[Audio], playing: Callable[[], bool | None]) -> None:
        async for block in sound:
            self.note_playing(playing())
            self.push(block.samples)
            while self._behind:
                self._progress.clear()
                await self._progress.wait()

    def note_playing(self, playing: bool | None) -> None:
        """What a player tells: it plays the voice now, or does not; None: it will not tell any more.

        Without that, the session reckons how long the player takes for what it was sent.
        """
        self._voice.playback.tell(playing)

    async def events(self) -> AsyncIterator[Event]:
        """All events, in order; the last one is :class:`EndedEvent`."""
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
            self._emit(EndedEvent, reason=reason)
            self._events.put_nowait(None)

    @property
    def idle(self) -> bool:
        """Whether everything that was heard has been worked off: only more sound can bring more events."""
        return not (self._busy or self._wake.is_set() or self._to_translate.qsize() or self._voice.busy)

    @property
    def lag_s(self) -> float:
        """How far recognition is behind the sound."""
        return max(0.0, self._segmenter.received_s - max(self._recognized_s, self._calm_s))

    @property
    def _behind(self) -> bool:
        """Whether a source that can wait should. Of silence there is nothing to recognize, however much has come."""
        return self._segmenter.received_s - max(self._recognized_s, self._taken_s) > WAIT_BEHIND_S

    @property
    def _over(self) -> bool:
        return self._runner is not None and self._runner.done()

    # --- the lanes ---

    def _start(self) -> None:
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        reason = "finished"
        lanes = [asyncio.create_task(lane) for lane in (self._recognize(), self._translate(), self._voice.run())]
        try:
            await asyncio.gather(*lanes)
        except MmpipeError as error:
            logger.error("%s ended by a failing stage\n%s", self.name, without_text(error))
            reason = str(error)
        except Exception as error:
            logger.error("%s ended by an internal error\n%s", self.name, without_text(error))
            reason = "internal error"
        finally:
            tasks = [*lanes, *([self._drafting] if self._drafting else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._segmenter.clear()  # a server keeps the session for clients that come back
        self._emit(EndedEvent, reason=reason)
        self._events.put_nowait(None)

    async def _recognize(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._segmenter.ready:
                await self._working(self._hear())
                self._progress.set()
            if self._shown and not self._segmenter.tail:
                self._show((), self._announced or "")
            if not self._segmenter.speaking:
                self._calm_s = self._segmenter.received_s
            self._taken_s = self._segmenter.received_s
            self._progress.set()
            self._report()
            if self._no_more and not self._wake.is_set():
                break
        self._flush()
        self._to_translate.put_nowait(None)

    async def _hear(self) -> None:
        async with self._models.turn():
            window = self._segmenter.next_window()
            if window is None:  # the speaker has stopped while it waited: the last window comes soon
                return
            segment = await self._understand(window)
        if segment.text and not segment.words:
            self._warn_once(
                "no words",
                f"Captions are made of words with their times, and the recognizer {self._models.recognizer.name!r} "
                "gives text without: set Segment.words, as docs/engines.md says.",
            )
        update = self._segmenter.understood(window, segment)
        self._spoken.heard(window, segment, committed=bool(update.committed))
        self._announce_language()
        self._notice_interruption(window, segment)
        if update.committed:
            self._commit(update.committed, segment)
        if window.last:
            self._flush()
        self._show(update.tail, segment.language)
        self._warn_if_silent(window, bool(segment.text))

    async def _understand(self, window: Window) -> Segment:
        began_s = self._clock.now_s()
        step_s = self.options.segmenter.step_s
        self._dropped_partials += max(0, int((window.end_s - max(self._recognized_s, window.start_s)) / step_s) - 1)
        segment = await self._recognized(window, None if self._spoken.open else self._spoken.language)
        if language := self._spoken.alternative(segment):
            segment = self._spoken.better(segment, await self._recognized(window, language))
        self._spent_s += self._clock.now_s() - began_s
        self._recognized_s = window.end_s
        return segment

    async def _recognized(self, window: Window, language: str | None) -> Segment:
        options = RecognitionOptions(
            language=language,
            languages=() if language else self._spoken.candidates,
            word_timestamps=True,
            hotwords=self.options.hotwords,
            # a short window is heard again soon, as part of a longer one
            retry_full_context=window.last or window.audio.duration_s > self.options.segmenter.trim_from_s,
        )
        return await self._models.recognize(SpeechWindow(window.audio, options), self)

    def _announce_language(self) -> None:
        found, previous = self._spoken.language, self._announced
        if found is not None and found != previous:
            self._announced = found
            self._emit(LanguageEvent, heard_until_s=self._recognized_s, language=found, previous=previous)

    def _notice_interruption(self, window: Window, segment: Segment) -> None:
        """Stop the voice for somebody who began to speak after it did: in a two-way talk, who speaks its language.

        Only words count, not a cough.
        """
        if self._utterance_s is None:
            self._utterance_s = window.start_s + self.options.segmenter.vad.pad_s
        begun_s = self._utterance_s
        if window.last:
            self._utterance_s = None
        voice = self._voice
        if not (segment.text and self.options.barges_in and (voice.waiting or voice.playback.playing)):
            return
        answers = self.options.between is None or segment.language == voice.language
        if answers and begun_s > voice.playback.since_s:
            dropped = voice.interrupt()
            self._emit(InterruptedEvent, heard_until_s=self._recognized_s, dropped=dropped)

    def _commit(self, words: tuple[Word, ...], segment: Segment) -> None:
        text = _text_of(words, segment.language)
        start_s, end_s = words[0].start_s, words[-1].end_s
        self._emit(
            CommittedEvent,
            start_s=start_s,
            end_s=end_s,
            heard_until_s=self._recognized_s,
            text=text,
            language=segment.language,
            words=words,
        )
        piece = replace(segment, start_s=start_s, end_s=end_s, text=text, words=words)
        for sentence in self._assembler.feed(piece):
            self._to_translate.put_nowait((sentence, self._recognized_s))

    def _flush(self) -> None:
        """The utterance is over: so is the sentence, whether it had a full stop or not."""
        for sentence in self._assembler.flush():
            self._to_translate.put_nowait((sentence, self._recognized_s))

    def _show(self, tail: tuple[Word, ...], language: str) -> None:
        """Show what may still change; nothing clears what was shown."""
        if not (tail or self._shown):
            return
        self._shown = bool(tail)
        heard_s = self._recognized_s
        start_s, end_s = (tail[0].start_s, tail[-1].end_s) if tail else (heard_s, heard_s)
        text = _text_of(tail, language)
        self._emit(PartialEvent, start_s=start_s, end_s=end_s, heard_until_s=heard_s, text=text, language=language)
        if tail:
            self._draft(tail, language)

    def _draft(self, tail: tuple[Word, ...], language: str) -> None:
        """Translate the sentence that is being said, as far as it goes. Only if nothing final is waiting."""
        target = self.options.target(language)
        if not (self.options.draft and target) or self._to_translate.qsize():
            return
        begun = self._assembler.tail
        words = (*(begun.words if begun else ()), *tail)
        text = _text_of(words, language)
        if text != self._drafted and (self._drafting is None or self._drafting.done()):  # else the next one will do
            self._drafted = text
            draft = Segment(words[0].start_s, words[-1].end_s, text, language, words)
            work = self._translate_one(draft, target, self._recognized_s, final=False)
            self._drafting = asyncio.create_task(self._working(work))

    async def _translate(self) -> None:
        while (item := await self._to_translate.get()) is not None:
            sentence, heard_until_s = item
            if target := self.options.target(sentence.language):
                await self._working(self._translate_one(sentence, target, heard_until_s, final=True))
        self._voice.end()

    async def _translate_one(self, sentence: Segment, target: str, heard_until_s: float, *, final: bool) -> None:
        translate = self._models.translator.translate
        try:
            translation = await self._models.in_thread(translate, sentence.text, sentence.language, target)
        except LanguageError as error:
            self._warn_once(f"no way from {sentence.language}", str(error))
            return
        except MmpipeError as error:
            if final:
                logger.error("%s: a sentence could not be translated\n%s", self.name, without_text(error))
                self._warn(f"A sentence could not be translated: {error}")
            return
        except Exception as error:
            if final:
                raise
            # nobody waits for a draft: what it raised would be written down by asyncio
            logger.error("%s: a draft could not be translated\n%s", self.name, without_text(error))
            return
        if not final and sentence.text != self._drafted:
            return  # a newer draft, or the sentence itself, is on its way
        self._emit(
            TranslatedEvent,
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
                self._voice.add(sentence, translation.text, target)

    def _speak(self, saying: Saying, audio: Audio) -> None:
        sentence = saying.source
        self._emit(SpokenEvent, start_s=sentence.start_s, end_s=sentence.end_s, text=saying.text, audio=audio)

    # --- small things ---

    async def _working(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy += 1
        try:
            await work
        finally:
            self._busy -= 1

    def _emit(self, kind: type[Event], **values: Any) -> None:
        self._seq += 1
        now_s, heard_s = self._clock.now_s() - self._began_s, self._segmenter.received_s
        values = {"start_s": heard_s, "end_s": heard_s} | values
        self._events.put_nowait(kind(seq=self._seq, emitted_s=now_s, **values))

    def _warn(self, text: str) -> None:
        self._emit(WarningEvent, text=text)

    def _warn_once(self, about: str, text: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            self._warn(text)

    def _warn_if_silent(self, window: Window, understood: bool) -> None:
        if understood or window.last:
            self._silent_since_s = window.end_s
        elif window.end_s - max(self._silent_since_s, window.start_s) > self.options.warn_after_s:
            self._silent_since_s = window.end_s
            self._warn("Somebody speaks, but nothing is understood. Is it the right language and microphone?")

    def _report(self) -> None:
        heard_s = self._segmenter.received_s
        if heard_s - self._last_stats_s < self.options.stats_every_s:
            return
        self._last_stats_s = heard_s
        self._emit(
            StatsEvent,
            heard_s=heard_s,
            lag_s=self.lag_s,
            real_time_factor=self._spent_s / max(heard_s, 1e-3),
            to_translate=self._to_translate.qsize(),
            to_speak=self._voice.waiting,
            dropped_partials=self._dropped_partials,
            dropped_speech=self._voice.dropped,
            voice_behind_s=self._voice.behind_s,
            unheard_s=self._unheard_s,
        )


def _text_of(words: tuple[Word, ...], language: str) -> str:
    """The text of ``words``, with the spaces the language wants."""
    return joined((word.text for word in words), language)
