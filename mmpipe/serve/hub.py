"""All sessions of a server: who is admitted, who may come back, who has been away or here too long."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from mmpipe.batching import BatcherStats, Clock, MonotonicClock
from mmpipe.errors import InputError, MmpipeError
from mmpipe.logs import without_text
from mmpipe.pipelines.live import LiveModels
from mmpipe.serve.load import LoadMeter
from mmpipe.serve.messages import Resume, Start
from mmpipe.serve.metrics import Metrics
from mmpipe.serve.options import ApiKeys, ServeOptions
from mmpipe.serve.session import ServedSession
from mmpipe.serve.wire import Close, ProtocolError

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
RETRY_AFTER_S = 10.0


class Hub:
    """Sessions over shared models. Used on one event loop."""

    def __init__(self, models: LiveModels, options: ServeOptions | None = None, clock: Clock | None = None) -> None:
        self.models = models
        self.options = options or ServeOptions()
        self.clock = clock or MonotonicClock()
        self.sessions: dict[str, ServedSession] = {}
        self.keys = ApiKeys(self.options.api_keys)
        self.load = LoadMeter(lambda: models.recogniser_stats, lambda: models.answers, self.clock)
        self.metrics = Metrics(self._stages)
        self.connections = 0  # that have not begun a session
        self.unready: str | None = "models are being warmed up"
        self._checking = 0  # sessions that are being admitted
        self._stopping = False
        self._probe: asyncio.Task[None] | None = None  # whether a recogniser that was stuck answers again
        self._tasks: set[asyncio.Task[None]] = set()

    # --- ready ---

    async def warm_up(self) -> None:
        """Run every stage that will be used once, so that the first session does not wait for it."""
        try:
            pairs = self.options.warm_up
            await self.models.warm_up(pairs, [target for _, target in pairs])
        except Exception as error:  # also a library's own: nobody else would hear of it
            logger.error("the server does not become ready: %s\n%s", error, without_text(error))
            why = str(error) if isinstance(error, MmpipeError) else "an internal error; the server's log has more"
            self.unready = f"warm-up failed: {why}"
        else:
            self.unready = None
        self.load.forget()  # what loading took says nothing about sessions

    @property
    def not_ready(self) -> str | None:
        """Why sessions should go elsewhere; None: they may come."""
        if self._stopping:
            return "the server is shutting down"
        if self.models.stuck:
            return "the recogniser does not answer"
        return self.unready

    # --- admission ---

    async def admit(self, start: Start) -> ServedSession:
        """A new session.

        Raises:
            ProtocolError: not now, or not with these options.
        """
        if (reason := self.not_ready) is not None:
            raise ProtocolError(Close.BUSY, f"Not ready: {reason}.", RETRY_AFTER_S)
        if self.live_sessions + self._checking >= self.options.max_sessions:
            raise ProtocolError(
                Close.BUSY, f"All {self.options.max_sessions} sessions are taken. Try again later.", RETRY_AFTER_S
            )
        if (reason := self.load.refusal(self.options)) is not None:
            raise ProtocolError(Close.BUSY, f"The machine is full: {reason}. Try again later.", RETRY_AFTER_S)
        self._checking += 1
        try:
            await self._check(start)
            session = ServedSession(self.models, start, self.options, self.clock, self.metrics, self.load)
        finally:
            self._checking -= 1
        self.sessions[session.id] = session
        self.metrics.started.inc()
        logger.info("session %s begins", session.id)
        return session

    async def _check(self, start: Start) -> None:
        """Say now what could not work, rather than with the first sentence."""
        models = self.models
        try:
            spoken = [start.source] if start.source else list(start.between or ())
            for code in spoken:
                if models.recogniser.languages and code not in models.recogniser.languages:
                    raise InputError(f"The language {code!r} is not recognised here.")
            pairs = [(start.source, start.to)] if start.to else []
            if start.between:
                pairs = [start.between, (start.between[1], start.between[0])]
            for source, target in pairs:
                if source and source != target:
                    models.translator.graph.best(source, target)
                if start.speak:
                    await models.in_thread(models.speaker.check, target, start.voice)
        except MmpipeError as error:
            raise ProtocolError(Close.BAD_MESSAGE, str(error)) from error

    def resume(self, request: Resume) -> ServedSession:
        """The session that ``request`` belongs to.

        Raises:
            ProtocolError: there is none, or what the client misses is not kept any more.
        """
        session = self.sessions.get(request.session)
        expected = session.token if session else ""
        if session is None or not hmac.compare_digest(request.token.get_secret_value().encode(), expected.encode()):
            raise ProtocolError(Close.UNKNOWN_SESSION, "There is no such session, or no more. Start another.")
        if request.last_event < session.log.forgotten_seq:
            raise ProtocolError(
                Close.GONE, f"Events {request.last_event + 1} to {session.log.forgotten_seq} are not kept any more."
            )
        if request.last_event > session.log.last_seq:
            raise ProtocolError(Close.BAD_MESSAGE, f"Event {request.last_event} has never been: there is a mistake.")
        self.metrics.resumed.inc()
        logger.info("session %s is resumed after event %d", session.id, request.last_event)
        return session

    @property
    def live_sessions(self) -> int:
        return sum(not session.ended for session in self.sessions.values())

    # --- leaving ---

    def left(self, session: ServedSession, cause: str | None) -> None:
        """A connection of ``session`` is over. ``cause``: why it will not be resumed; None: it may be."""
        if session.connected:
            return  # it goes on in another connection
        if cause is None and session.untouched:
            cause = "left"
        if cause is not None:
            self.sessions.pop(session.id, None)
            self._in_background(session.end(cause, "the client has left"))

    async def sweep(self) -> None:
        """End what has lasted too long. To be called about once a second."""
        options, now_s = self.options, self.clock.now_s()
        self.load.sample()
        if self.models.stuck and self._probe is None:
            self._probe = asyncio.create_task(self.warm_up())
            self._probe.add_done_callback(lambda _: setattr(self, "_probe", None))
        for session in list(self.sessions.values()):
            away_s = now_s - session.away_since_s if session.away_since_s is not None else 0.0
            if away_s > options.grace_s:
                del self.sessions[session.id]
                await session.end("away", "the client did not come back")
            elif now_s - session.began_s > options.max_session_s and not session.ending:
                reason = f"a session may last {options.max_session_s / 60:.0f} minutes"
                self._in_background(session.end("length", reason, options.drain_s))
            elif session.listener is not None and session.listener.idle_s > options.idle_s:
                reason = (
                    f"Nothing came for {options.idle_s:g} s. Send sound, silence or a ping; connect again to resume."
                )
                session.listener.leave(ProtocolError(Close.IDLE, reason))
        connected = sum(session.connected for session in self.sessions.values())
        self.metrics.sessions.labels("connected").set(connected)
        self.metrics.sessions.labels("away").set(len(self.sessions) - connected)

    async def sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.sweep()

    async def stop(self, reason: str = "the server is shutting down") -> None:
        """Admit nobody, finish what was said, end every session. May be called twice."""
        self._stopping = True
        if self._probe is not None:
            self._probe.cancel()
        await asyncio.gather(
            *(session.end("shutdown", reason, self.options.drain_s) for session in self.sessions.values())
        )
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- figures ---

    def _stages(self) -> Mapping[str, BatcherStats]:
        return self.models.batchers.stats()
