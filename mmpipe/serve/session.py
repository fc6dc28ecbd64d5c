"""A live session with what it needs to outlast its connections."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mmpipe.batching import Clock
from mmpipe.logs import without_text
from mmpipe.pipelines.live import EndedEvent, Event, LiveModels, LiveSession, PartialEvent, StatsEvent
from mmpipe.serve.access import Caller
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.eventlog import EventLog
from mmpipe.serve.load import LoadMeter
from mmpipe.serve.messages import Start
from mmpipe.serve.metrics import Metrics
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.packets import PIECE_S, PacketDecoder, Reorder, SoundFormat
from mmpipe.serve.transcripts import TranscriptStore
from mmpipe.serve.wire import OPUS_RATE_HZ, Close, Packet, ProtocolError
from mmpipe.types import SPEECH_RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """The connection that a session has at the moment."""

    sent_seq: int
    allowed_bytes: int

    @property
    def idle_s(self) -> float:
        """Since the last message of the client."""

    def leave(self, farewell: ProtocolError) -> None:
        """End the connection, soon."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the sessions of a server share."""

    models: LiveModels
    options: ServeOptions
    clock: Clock
    metrics: Metrics
    load: LoadMeter
    audit: AuditLog
    transcripts: TranscriptStore | None = None


class ServedSession:
    """One speaker: the live session, packets on their way in, events on their way out. Must be made inside a loop."""

    def __init__(self, around: Surroundings, start: Start, caller: Caller) -> None:
        options, clock = around.options, around.clock
        self.id = secrets.token_hex(4)  # for logs
        self.token = secrets.token_urlsafe(24)  # for the client alone
        self.caller = caller  # who began it
        self.began_s = clock.now_s()
        self.ended_s: float | None = None
        self.away_since_s: float | None = self.began_s
        self.ended = False
        self.news = asyncio.Event()  # there may be something to send
        self.log = EventLog(options.replay_bytes)
        self._start, self._options, self._clock = start, options, clock
        self._metrics, self._load, self._audit = around.metrics, around.load, around.audit
        self._sound = SoundFormat(start.format, OPUS_RATE_HZ if start.format == "opus" else start.rate_hz)
        self._decoder = PacketDecoder(self._sound)
        self._reorder = Reorder()
        self._allowance = Allowance(options, clock)
        self._hearing = asyncio.Lock()
        self._decoding: asyncio.Task[NDArray[np.float32]] | None = None
        self._packets: deque[Packet] = deque()  # in order, that are not heard yet
        self._pieces: Iterator[NDArray[np.float32]] | None = None  # of the packet before them
        self._transcript = around.transcripts.begin(self.id) if around.transcripts else None
        self._listener: Listener | None = None
        self._sent_seq = 0  # by the last connection that was lost
        self._finished = False
        self._cause: tuple[str, str] | None = None  # why the server ends it: for the metrics, for the client
        self._stats: StatsEvent | None = None
        self._live = LiveSession(around.models, start.live_options(), clock, name=f"session {self.id}")
        self._collector = asyncio.create_task(self._collect(), name=f"session {self.id}")

    # --- sound in ---

    @property
    def next_packet(self) -> int:
        """The first packet that has not been taken in."""
        return self._reorder.next_seq

    @property
    def received_s(self) -> float:
        return self._decoder.received_s

    @property
    def untouched(self) -> bool:
        """Nothing was said and nothing was answered: there is nothing to come back for."""
        return not self.received_s and not self.log.last_seq

    def spend_message(self) -> None:
        """
        Raises:
            ProtocolError: too many messages.
        """
        self._allowance.spend()

    async def hear(self, packet: Packet) -> None:
        """Hear ``packet`` when its turn has come. Long sound, also long silence, leaves others their turns.

        What is cancelled meanwhile, with its connection, is heard before what comes in the next one.

        Raises:
            ProtocolError: it is no packet of this session, or too much at a time.
        """
        async with self._hearing:
            await self._work_off()
            repeated, lost = self._reorder.repeated, self._reorder.lost
            self._packets.extend(self._reorder.push(packet))
            self._metrics.packets.labels("received").inc()
            self._metrics.packets.labels("repeated").inc(self._reorder.repeated - repeated)
            self._metrics.packets.labels("lost").inc(self._reorder.lost - lost)
            await self._work_off()

    def note_playing(self, playing: bool) -> None:
        """The client's player plays the voice now, or does not."""
        self._live.note_playing(playing)

    async def finish(self, packets: int) -> None:
        """The client will send no more than ``packets``. May be said twice.

        Raises:
            ProtocolError: what was sent was too much at a time.
        """
        async with self._hearing:
            await self._work_off()
            if self._finished or self.ended:
                return
            lost = self._reorder.lost
            self._packets.extend(self._reorder.flush(packets))
            self._metrics.packets.labels("lost").inc(self._reorder.lost - lost)
            await self._work_off()
            self._live.push(self._decoder.flush())
            self._finish_live()

    def _finish_live(self) -> None:
        if not self._finished:
            self._finished = True
            self._live.finish()

    async def _work_off(self) -> None:
        """Hear what was taken in, no more than one long piece, or some short ones, in a turn of the loop."""
        turn_s = 0.0
        while (samples := await self._next_piece()) is not None:
            self._live.push(samples)  # at once: what is cancelled while it waits is in nobody's hands
            turn_s += len(samples) / SPEECH_RATE_HZ
            if turn_s >= PIECE_S / 4:
                await asyncio.sleep(0)
                turn_s = 0.0

    async def _next_piece(self) -> NDArray[np.float32] | None:
        """The next sound that was taken in and not heard; None: there is none."""
        if self._finished or self.ended:
            self._packets.clear()  # sound that comes behind the end is counted, and not heard
            self._pieces = None
        before_s, damaged = self.received_s, self._decoder.damaged
        while True:
            if self._pieces is None:
                if not self._packets:
                    return None
                decoded = await self._decoded(self._packets[0])
                if not self._packets:  # the session has ended meanwhile
                    return None
                self._pieces = self._decoder.pieces(self._packets.popleft(), decoded)
            if (samples := next(self._pieces, None)) is not None:
                break
            self._pieces = None
        ahead_s = self.received_s - (self._clock.now_s() - self.began_s)
        if ahead_s > self._options.max_ahead_s:
            raise ProtocolError(
                Close.TOO_FAST,
                f"Sound comes {ahead_s:.0f} s faster than it is spoken: send it at its own pace. "
                "`mmpipe translate` is for recordings.",
            )
        self._metrics.heard.inc(self.received_s - before_s)
        if self._decoder.damaged > damaged:
            self._metrics.packets.labels("damaged").inc(self._decoder.damaged - damaged)
        return samples

    async def _decoded(self, packet: Packet) -> NDArray[np.float32]:
        """What ``packet`` holds. Cancelled, it goes on: who comes next waits for the same."""
        if self._sound.codec == "pcm16":
            return await self._decoder.decoded(packet)
        if self._decoding is None:
            self._decoding = asyncio.create_task(self._decoder.decoded(packet))
        samples = await asyncio.shield(self._decoding)
        self._decoding = None
        return samples

    # --- connections ---

    def attach(self, listener: Listener) -> None:
        """Speak to ``listener`` from now on. The one before, whose network may be dead, is sent away."""
        if self._listener is not None:
            self._listener.leave(ProtocolError(Close.REPLACED, "The session goes on in another connection."))
            self._live.note_playing(None)
        self._listener, self.away_since_s = listener, None

    def detach(self, listener: Listener) -> None:
        if self._listener is listener:
            self._live.note_playing(None)
            self._sent_seq = listener.sent_seq
            self._listener, self.away_since_s = None, self._clock.now_s()

    @property
    def connected(self) -> bool:
        return self._listener is not None

    @property
    def listener(self) -> Listener | None:
        return self._listener

    # --- events out ---

    async def _collect(self) -> None:
        try:
            async for event in self._live.events():
                self._note(event)
        except Exception as error:
            logger.error("session %s: internal error\n%s", self.id, without_text(error))
            self._cause = self._cause or ("failed", "internal error")
        finally:
            if not self.ended:
                now_s, heard_s = self._clock.now_s() - self.began_s, self.received_s
                seq = self.log.last_seq + 1
                self._note(EndedEvent(seq=seq, emitted_s=now_s, start_s=heard_s, end_s=heard_s, reason="closed"))

    def _note(self, event: Event) -> None:
        if isinstance(event, EndedEvent):
            event = self._close_with(event)
        self._measure(event)
        if self._transcript is not None:
            self._transcript.add(event)
        if self._wanted(event):
            listener = self._listener
            fits = self.log.add(event, listener.sent_seq if listener else self._sent_seq)
            if listener and self.log.bytes_after(listener.sent_seq) > listener.allowed_bytes:
                listener.leave(ProtocolError(Close.SLOW, "Events are not read fast enough. Connect again and resume."))
            if not fits and not self.ended:
                self.end_soon("overflow", "too many events were not fetched")
        self.news.set()

    def _close_with(self, event: EndedEvent) -> EndedEvent:
        self.ended, self.ended_s = True, self._clock.now_s()
        cause, reason = self._cause or ("finished" if event.reason == "finished" else "failed", event.reason)
        self._metrics.ended.labels(cause).inc()
        level = logging.WARNING if cause == "failed" else logging.INFO
        # not the reason: where a stage failed it may quote what was said
        logger.log(level, "session %s ended after %.0f s of sound: %s", self.id, self.received_s, cause)
        self._audit.note(
            "session.ended",
            who=self.caller.name,
            address=self.caller.address,
            why=cause,
            session=self.id,
            seconds=round(self.received_s, 1),
        )
        if self._transcript is not None:
            self._transcript.close()
        self._decoder.close()
        return replace(event, reason=reason)

    def _wanted(self, event: Event) -> bool:
        match event:
            case PartialEvent():
                return self._start.partials
            case StatsEvent():
                return self._start.stats
            case _:
                return True

    def _measure(self, event: Event) -> None:
        self._metrics.events.labels(event.type).inc()
        if isinstance(event, StatsEvent):
            before, self._stats = self._stats, event
            self._metrics.lag.observe(event.lag_s)
            self._load.note_lag(event.lag_s)
            for what in ("partials", "speech"):
                dropped = getattr(event, f"dropped_{what}") - getattr(before, f"dropped_{what}", 0)
                self._metrics.dropped.labels(what).inc(dropped)

    # --- the end ---

    @property
    def ending(self) -> bool:
        return self.ended or self._cause is not None

    def end_soon(self, cause: str, reason: str) -> None:
        """End without waiting for what was heard; from inside the loop, returns at once."""
        if self._cause is None:
            self._cause = (cause, reason)
            self._ending = asyncio.create_task(self._live.close(reason))

    async def end(self, cause: str, reason: str, drain_s: float = 0.0) -> None:
        """End for ``reason``; what was heard is still worked off, for at most ``drain_s``."""
        if not self.ended:
            self._cause = self._cause or (cause, reason)
            await asyncio.sleep(0)  # a session that was made just now has not begun
            if drain_s:
                with suppress(ProtocolError):  # too much at a time: what was heard before will do
                    async with self._hearing:
                        await self._work_off()
                self._finish_live()
                await asyncio.wait([self._collector], timeout=drain_s)
            await self._live.close(reason)
            await asyncio.wait([self._collector], timeout=0.1)  # it has but to read the last events
            self._collector.cancel()
        await asyncio.gather(self._collector, return_exceptions=True)


class Allowance:
    """Messages a second: a token bucket that fills while the client is away, for what it will send again then."""

    def __init__(self, options: ServeOptions, clock: Clock) -> None:
        self._clock, self._per_s = clock, options.max_messages_per_s
        self._most = options.max_messages_per_s * (options.grace_s + 2)
        self._left = 2 * options.max_messages_per_s
        self._at_s = clock.now_s()

    def spend(self) -> None:
        """
        Raises:
            ProtocolError: there is nothing left.
        """
        now_s = self._clock.now_s()
        self._left = min(self._left + (now_s - self._at_s) * self._per_s, self._most) - 1
        self._at_s = now_s
        if self._left < 0:
            raise ProtocolError(Close.TOO_FAST, f"More than {self._per_s:g} messages a second: send longer packets.")
