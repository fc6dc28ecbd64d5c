"""The models that all live sessions of a process share, called with patience: one more try, and a deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from mmpipe.batching import BatcherStats
from mmpipe.errors import DeadlineExceededError, StageError
from mmpipe.logs import without_text
from mmpipe.pipelines.engines import Engines
from mmpipe.stage import In, Out, Stage
from mmpipe.translate import Glossary
from mmpipe.types import SPEECH_RATE_HZ, Audio, RecognitionOptions, Segment, SpeechWindow

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: From the request to the result. A machine this slow could not follow a speaker anyway.
DEADLINE_S = 20.0
#: Sentences that are translated or spoken at the same time, of all sessions.
THREADS = 32


@dataclass(frozen=True, slots=True)
class Answers:
    """How long sessions waited for the recognizer: from wanting a turn to its answer."""

    count: int = 0
    total_s: float = 0.0


class LiveModels:
    """The models that all sessions of a process share. A context manager.

    ``engines``: whose; None: those of :class:`~mmpipe.pipelines.engines.Engines`, loaded for this. ``glossary``: of
    the translations. ``deadline_s``: from the request to a result.

    A stage that raises is asked once more; if it raises again, StageError. If it does not answer within
    ``deadline_s``, DeadlineExceededError. What then happens is up to the session: see
    :class:`~mmpipe.pipelines.live.LiveSession`. ``stuck``: the recognizer missed its last deadline.
    """

    def __init__(
        self, engines: Engines | None = None, *, glossary: Glossary | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        self._made_here = ExitStack()
        self.engines = engines or self._made_here.enter_context(Engines(interactive=True))
        self.recognizer, self.vad = self.engines.recognizer, self.engines.vad
        self.translator = self.engines.text_translator(glossary, self._run)
        self.text_to_speech = self.engines.text_to_speech(self._run)
        self.deadline_s = deadline_s
        self.stuck = False
        self.answers = Answers()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="mmpipe-live")
        self._recognition = self.engines.batchers.of(self.recognizer)
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Held by a session while its window is recognized: one batch computes, the next one waits.

        A session takes its window when it has got a turn, so that on a busy machine the window holds what was said
        while the session waited.
        """
        began_s = time.monotonic()
        turns = asyncio.Semaphore(2 * self._recognition.options.max_items)
        async with self._turns.setdefault(asyncio.get_running_loop(), turns):
            yield
        self.answers = Answers(self.answers.count + 1, self.answers.total_s + time.monotonic() - began_s)

    async def recognize(self, window: SpeechWindow, session: object) -> Segment:
        """
        Raises:
            StageError: the recognizer failed twice.
            DeadlineExceededError: it does not answer.
        """
        try:
            async with asyncio.timeout(self.deadline_s):
                try:
                    segment = await self._recognition.aio(window, session=session)
                except StageError as error:
                    logger.info("the recognizer is asked again after an error\n%s", without_text(error))
                    segment = await self._recognition.aio(window, session=session)
        except TimeoutError:
            self.stuck = True
            raise self._late("The recognizer") from None
        self.stuck = False
        return segment

    @property
    def recognizer_stats(self) -> BatcherStats:
        return self._recognition.stats

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """``function(*args)``, off the event loop: what translates or speaks a text waits for its engines there.

        Engines have a deadline of their own; this one is for what happens around them.

        Raises: what ``function`` raises.
            DeadlineExceededError: it is not done.
        """
        try:
            async with asyncio.timeout(2 * self.deadline_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        except TimeoutError:
            raise self._late("The translation or the voice") from None

    async def warmup(self, pairs: Iterable[tuple[str, str]] = (), speak: Iterable[str] = ()) -> None:
        """Load what sessions will use, and use it once, so that the first one does not wait for it.

        ``pairs``: (source, target) languages to translate; ``speak``: languages to speak. It may take as long as it
        takes to fetch the weights.

        Raises:
            MmpipeError: a model cannot be had, or does not work.
        """
        silence = Audio(np.zeros(SPEECH_RATE_HZ, np.float32))
        window = SpeechWindow(silence, RecognitionOptions(word_timestamps=True))
        await self._recognition.aio(window, session="warm-up")
        in_thread = partial(asyncio.get_running_loop().run_in_executor, self._threads)
        for source, target in pairs:
            await in_thread(self.translator.translate, "Hello.", source, target)
        for language in speak:
            await in_thread(self.text_to_speech.speak, "1", language)
        self.stuck = False

    def _run(self, stage: Stage[In, Out], items: Sequence[In]) -> list[Out]:
        """How translation and voice call their engines, from threads."""
        until_s = time.monotonic() + self.deadline_s
        try:
            return self._run_until(stage, items, until_s)
        except StageError as error:
            logger.info("%s is asked again after an error\n%s", stage.name, without_text(error))
            return self._run_until(stage, items, until_s)

    def _run_until(self, stage: Stage[In, Out], items: Sequence[In], until_s: float) -> list[Out]:
        batcher = self.engines.batchers.of(stage)
        futures: list[Future[Out]] = []
        try:
            for item in items:
                left_s = max(0.0, until_s - time.monotonic())
                futures.append(batcher.submit(item, deadline_s=left_s, block=True))
            if wait(futures, max(0.0, until_s - time.monotonic())).not_done:
                raise self._late(f"The engine {stage.name!r}")
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _late(self, what: str) -> DeadlineExceededError:
        return DeadlineExceededError(
            f"{what} did not answer within {self.deadline_s:g} seconds. If that lasts, start mmpipe again."
        )

    def close(self) -> None:
        """End what is under way, and free the models that were loaded here."""
        self._made_here.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
