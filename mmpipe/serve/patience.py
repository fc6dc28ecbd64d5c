"""Shared models that neither fail a session for one mishap nor let it wait for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mmpipe.errors import DeadlineExceededError, StageError
from mmpipe.pipelines.live import LiveModels
from mmpipe.types import Segment, SpeechWindow

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: From the request to the result. A machine this slow could not follow a speaker anyway.
DEADLINE_S = 20.0

RECOGNISER = "The recogniser"


class PatientModels(LiveModels):
    """:class:`~mmpipe.pipelines.live.LiveModels` with one retry and a deadline.

    A stage that raises is asked once more; if it raises again, StageError. If it does not answer within
    ``deadline_s``, DeadlineExceededError. Either ends a session when it comes from the recogniser, and skips a sentence
    with a warning when it comes from the translation or the voice. ``stuck``: the recogniser missed its last deadline.
    """

    deadline_s: float = DEADLINE_S
    stuck: bool = False

    async def recognise(self, window: SpeechWindow, session: object) -> Segment:
        async def attempt() -> Segment:
            return await super(PatientModels, self).recognise(window, session)

        try:
            segment = await self._patiently(attempt, RECOGNISER, retry=True)
        except DeadlineExceededError:
            self.stuck = True
            raise
        self.stuck = False
        return segment

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        async def attempt() -> T:
            return await super(PatientModels, self).in_thread(function, *args)

        # an iterator that has raised is exhausted: asking it again would pass for the end of the speech
        retry = function is not next
        return await self._patiently(attempt, "The translation" if retry else "The voice", retry=retry)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]], what: str, *, retry: bool) -> T:
        try:
            async with asyncio.timeout(self.deadline_s):
                try:
                    return await attempt()
                except StageError as error:
                    if not retry:
                        raise
                    logger.info("%s is asked again after: %s", what, error)
                    return await attempt()
        except TimeoutError:
            raise DeadlineExceededError(
                f"{what} did not answer within {self.deadline_s:g} seconds. If that lasts, restart the server."
            ) from None
