"""All sessions of a server: who is admitted, who may come back, who has been away or here too long."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from mmpipe import memory
from mmpipe.batching import BatcherStats, Clock, MonotonicClock
from mmpipe.errors import InputError, MmpipeError
from mmpipe.logs import without_text
from mmpipe.pipelines.live import LiveModels
from mmpipe.serve.access import RETRY_AFTER_S, Access, Caller, RefusedError, WaitingRoom, is_loopback
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.hosts import neighbourhood
from mmpipe.serve.load import LoadMeter
from mmpipe.serve.messages import Resume, Start
from mmpipe.serve.metrics import Metrics
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.session import ServedSession, Surroundings
from mmpipe.serve.transcripts import TranscriptKeys, TranscriptStore
from mmpipe.serve.wire import Close, ProtocolError

logger = logging.getLogger(__name__)

SWEEP_S = 1.0


class SessionManager:
    """Sessions over shared models. Used on one event loop.

    ``today``: the day in UTC, for keys that expire.

    Raises:
        InputError: a file of keys has a mistake, or something that is to be kept cannot be.
    """

    def __init__(
        self,
        models: LiveModels,
        options: ServeOptions | None = None,
        clock: Clock | None = None,
        audit: AuditLog | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self.models = models
        options = self.options = options or ServeOptions()
        self.clock = clock or MonotonicClock()
        self.sessions: dict[str, ServedSession] = {}
        self.audit = audit or AuditLog(options.audit_log)
        self.keys = Access(options, self.clock, self.audit, today)
        self.room = WaitingRoom(options.max_connections, options.max_connections_per_address)
        self.load = LoadMeter(lambda: models.recognizer_stats, lambda: models.answers, self.clock)
        self.metrics = Metrics(self._stages)
        self.transcripts: TranscriptStore | None = None
        if options.transcripts is not None:
            encryption = TranscriptKeys(options.transcripts_key) if options.transcripts_key else None
            self.transcripts = TranscriptStore(options.transcripts, encryption, options.keep_days)
        self.unready: str | None = "models are being warmed up"
        self._around = Surroundings(models, options, self.clock, self.metrics, self.load, self.audit, self.transcripts)
        self._checking: list[Caller] = []  # whose sessions are being admitted
        self._stopping = False
        self._probe: asyncio.Task[None] | None = None  # whether a recognizer that was stuck answers again
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Those that have not begun a session."""
        return len(self.room)

    # --- ready ---

    async def warmup(self) -> None:
        """Run every stage that will be used once, so that the first session does not wait for it."""
        try:
            pairs = self.options.warmup
            await self.models.warmup(pairs, [target for _, target in pairs])
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
            return "the recognizer does not answer"
        return self.unready

    # --- admission ---

    async def admit(self, start: Start, caller: Caller) -> ServedSession:
        """A new session.

        Raises:
            ProtocolError: not now, or not with these options.
        """
        self._bound_ended()
        if (reason := self.not_ready) is not None:
            raise _busy(f"Not ready: {reason}.", "not_ready")
        if self.live_sessions + len(self._checking) >= self.options.max_sessions:
            raise _busy(f"All {self.options.max_sessions} sessions are taken. Try again later.", "full")
        self._check_share(caller)
        if (reason := self.load.refusal(self.options)) is not None:
            raise _busy(f"The machine is full: {reason}. Try again later.", "load")
        self.keys.begin(caller)
        self._checking.append(caller)
        try:
            await self._check(start)
            session = ServedSession(self._around, start, caller)
        finally:
            self._checking.remove(caller)
        self.sessions[session.id] = session
        self.metrics.started.inc()
        self.audit.note("session.started", who=caller.name, address=caller.address, session=session.id)
        logger.info("session %s begins", session.id)
        return session

    def _check_share(self, caller: Caller) -> None:
        """Nobody takes all the seats: a key has some, and where there are no keys an address has."""
        others = [session.caller for session in self.sessions.values() if not session.ended] + self._checking
        if caller.key is not None:
            seats = self.keys.seats(caller.key)
            if sum(other.key is not None and other.key.digest == caller.key.digest for other in others) >= seats:
                raise _busy(f"The key {caller.name!r} has all its {seats} sessions. End one, or wait.", "seats")
        elif not is_loopback(caller.address):
            network, most = neighbourhood(caller.address), self.options.max_sessions_per_address
            if sum(neighbourhood(other.address) == network for other in others) >= most:
                raise _busy(f"Your address has {most} sessions, which is all that it may. End one, or wait.", "address")

    async def _check(self, start: Start) -> None:
        """Say now what could not work, rather than with the first sentence."""
        models = self.models
        try:
            spoken = [start.source] if start.source else list(start.between or ())
            for code in spoken:
                if models.recognizer.languages and code not in models.recognizer.languages:
                    raise InputError(f"The language {code!r} is not recognized here.")
            pairs = [(start.source, start.to)] if start.to else []
            if start.between:
                pairs = [start.between, (start.between[1], start.between[0])]
            for source, target in pairs:
                if source and source != target:
                    models.translator.graph.best(source, target)
                if start.speak:
                    await models.in_thread(models.text_to_speech.check, target, start.voice)
        except MmpipeError as error:
            raise ProtocolError(Close.BAD_MESSAGE, str(error)) from error

    def resume(self, request: Resume, caller: Caller) -> ServedSession:
        """The session that ``request`` belongs to.

        Raises:
            ProtocolError: there is none, or what the client misses is not kept any more.
        """
        session = self.sessions.get(request.session)
        expected = session.token if session else ""
        given = request.token.get_secret_value()
        fits = hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
        if session is None or not fits or _digest(session.caller) != _digest(caller):
            raise ProtocolError(Close.UNKNOWN_SESSION, "There is no such session, or no more. Start another.")
        if request.last_event < session.log.forgotten_seq:
            raise ProtocolError(
                Close.GONE, f"Events {request.last_event + 1} to {session.log.forgotten_seq} are not kept any more."
            )
        if request.last_event > session.log.last_seq:
            raise ProtocolError(Close.BAD_MESSAGE, f"Event {request.last_event} has never been: there is a mistake.")
        self.metrics.resumed.inc()
        self.audit.note("session.resumed", who=caller.name, address=caller.address, session=session.id)
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
            self._probe = asyncio.create_task(self.warmup())
            self._probe.add_done_callback(lambda _: setattr(self, "_probe", None))
        self._bound_ended()
        self.audit.flush()
        if self.transcripts is not None:
            self._expire_transcripts(self.transcripts)
        for session in list(self.sessions.values()):
            away_s = now_s - session.away_since_s if session.away_since_s is not None else 0.0
            if away_s > options.grace_s:
                del self.sessions[session.id]
                await session.end("away", "the client did not come back")
            elif session.ended_s is not None and now_s - session.ended_s > options.grace_s:
                self._let_go(session)
            elif not session.ending and (why := self.keys.lost(session.caller.key)) is not None:
                self._in_background(session.end(why, f"the API key is {why}", options.drain_s))
            elif now_s - session.began_s > options.max_session_s and not session.ending:
                reason = f"a session may last {options.max_session_s / 60:.0f} minutes"
                self._in_background(session.end("length", reason, options.drain_s))
            elif session.listener is not None and session.listener.idle_s > options.idle_s:
                reason = (
                    f"Nothing came for {options.idle_s:g} s. Send sound, silence or a ping; connect again to resume."
                )
                session.listener.leave(ProtocolError(Close.IDLE, reason))
        going_on = [session for session in self.sessions.values() if not session.ended]
        connected = sum(session.connected for session in going_on)
        self.metrics.sessions.labels("connected").set(connected)
        self.metrics.sessions.labels("away").set(len(going_on) - connected)
        self.metrics.sessions.labels("ended").set(len(self.sessions) - len(going_on))
        self.metrics.replay_bytes.set(sum(session.log.size_bytes for session in self.sessions.values()))

    def _bound_ended(self) -> None:
        """Sessions that have ended are kept for their clients to fetch the rest, and not without bound."""
        ended = sorted(
            (session for session in self.sessions.values() if session.ended_s is not None),
            key=lambda session: session.ended_s or 0.0,
        )
        count, size_bytes = len(ended), sum(session.log.size_bytes for session in ended)
        for session in ended:  # the oldest first
            if count <= self.options.max_ended_sessions and size_bytes <= self.options.max_ended_bytes:
                break
            count, size_bytes = count - 1, size_bytes - session.log.size_bytes
            self._let_go(session)

    def _let_go(self, session: ServedSession) -> None:
        """Of a session that has ended, whatever its client has not fetched."""
        self.sessions.pop(session.id, None)
        self.metrics.dropped_sessions.inc()
        if session.listener is not None:
            session.listener.leave(ProtocolError(Close.GONE, "The session has ended, and its events are not kept."))

    def _expire_transcripts(self, store: TranscriptStore) -> None:
        if not store.due:
            return

        async def expire() -> None:
            try:
                count = await asyncio.to_thread(store.expire)
            except (OSError, MmpipeError) as error:
                logger.error("old transcripts could not be removed: %s", error)
                return
            if count:
                logger.info("%d transcripts were removed: they were too old", count)
                self.audit.note("transcripts.expired", count=count)

        self._in_background(expire())

    async def sweep_for_ever(self) -> None:
        with self._reloading_on_hangup():
            trimmed_s = self.clock.now_s()
            while True:
                await self.sweep()
                if self.clock.now_s() - trimmed_s >= memory.TRIM_EVERY_S:
                    await asyncio.to_thread(memory.trim)
                    trimmed_s = self.clock.now_s()
                await asyncio.sleep(SWEEP_S)

    @contextmanager
    def _reloading_on_hangup(self) -> Iterator[None]:
        """While there is something to read again, SIGHUP means that, and not the end of the process."""
        wanted = self.options.keys_file is not None or self.options.audit_log is not None
        loop = asyncio.get_running_loop()
        try:
            if wanted:
                loop.add_signal_handler(signal.SIGHUP, self.reload)
        except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
            logger.debug("no reloading on SIGHUP here: %r", error)  # another system, or not the main thread
            wanted = False
        try:
            yield
        finally:
            if wanted:
                loop.remove_signal_handler(signal.SIGHUP)

    def reload(self) -> None:
        """Read the keys again, and open the audit log again, where somebody has moved it away. Sessions go on."""
        self.audit.reopen()
        self.keys.reload()

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
        self.audit.close()  # and is opened again, should anything follow

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- figures ---

    def _stages(self) -> Mapping[str, BatcherStats]:
        return self.models.engines.stats()


def _busy(text: str, why: str) -> RefusedError:
    return RefusedError(Close.BUSY, text, why, 503, RETRY_AFTER_S)


def _digest(caller: Caller) -> bytes | None:
    return caller.key.digest if caller.key else None
