"""One live session of a soak: a recording said at its pace, through cut connections; every message kept and checked."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmpipe.errors import MmpipeError
from mmpipe.evaluate.reference import Reference
from mmpipe.evaluate.replay_log import Record
from mmpipe.extras import require
from mmpipe.serve.wire import PATH, Close, Packet, to_pcm16
from mmpipe.types import SPEECH_RATE_HZ, Audio

BLOCK = SPEECH_RATE_HZ // 10  # samples in a packet
BLOCK_S = BLOCK / SPEECH_RATE_HZ
#: Between a cut and the next connection.
AWAY_S = (0.1, 2.0)
#: A server that says nothing for so long has forgotten the session: statistics come every few seconds.
SILENT_S = 60.0
#: Attempts to come back, a second apart; a session lives on for a minute.
ATTEMPTS = 20
#: Once the last word was sent, until everything has come.
TAIL_S = 120.0
ACK_EVERY_EVENTS = 16
#: Events that a newer one may replace before, or after, they were sent.
_FLEETING = {"partial", "stats"}


class SessionError(MmpipeError):
    """The server ended a session that nobody had ended, or refuses to go on with it."""


class SessionRefusedError(MmpipeError):
    """The server admits no session now."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one session does."""

    audio: Audio  # 16 kHz
    spoken: Reference  # what is said in it, when: delays are measured against it
    offline: Reference  # the same as recognized offline: words are counted against it
    options: dict[str, Any]  # of the message "start"
    cuts_s: tuple[float, ...] = ()  # when the connection is cut
    #: Acknowledges nothing, asks for everything again whenever it comes back and in the end, and compares.
    audits: bool = False


@dataclass(slots=True)
class Heard:
    """What came of a session. ``events``: each as it was received first, in the order received."""

    began_s: float  # by the clock of the event loop
    session: str = ""
    events: list[Record] = field(default_factory=list)
    received: int = 0  # events, each counted once
    cuts: int = 0
    resumed: int = 0
    repeated: int = 0  # events that came again unasked
    changed: int = 0  # events that came again and were different
    lost: int = 0  # events that the server keeps, and that did not come when it was their turn
    disordered: int = 0  # events that came after younger ones
    audited: int = 0  # events that were compared with what the server keeps
    failure: str = ""


class Ledger:
    """Checks that every event comes exactly once and unchanged, whatever is asked for again."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._by_seq: dict[int, Record] = {}
        self.last_seq = 0
        self._again_until = 0  # the client asked for events again that it had, up to this one

    def resume(self, last_event: int) -> None:
        """The connection is another one: events after ``last_event`` come, those the client has and new ones."""
        self._again_until = self.last_seq if last_event < self.last_seq else 0

    def take(self, event: Record) -> None:
        seq = event["seq"]
        if seq > self._again_until:
            self._again_until = 0  # what comes now is new
        known = self._by_seq.get(seq)
        if known is not None:
            self._heard.changed += known != event
            if seq <= self._again_until:
                self._heard.audited += 1
            else:
                self._heard.repeated += 1
            return
        if seq <= self._again_until:  # it was kept for us, and had never come
            self._heard.lost += lasting(event)
        elif seq < self.last_seq:
            self._heard.disordered += 1
        self._by_seq[seq] = event
        self._heard.events.append(event)
        self._heard.received += 1
        self.last_seq = max(self.last_seq, seq)


def lasting(event: Record) -> bool:
    """Whether no newer event can take the place of ``event``."""
    return event["type"] not in _FLEETING and not (event["type"] == "translated" and not event["final"])


class LiveVisitor:
    """Runs a :class:`Plan` against the server at ``url``, once.

    Args:
        url: as "ws://host:port".
        plan: what to do.
        address: of this machine, from which it connects; None: any.
        rng: decides how long it stays away after a cut.
    """

    def __init__(self, url: str, plan: Plan, address: str | None, rng: random.Random) -> None:
        self._websockets = require("websockets.asyncio.client", "client", "A live session")
        self._lost = require("websockets.exceptions", "client", "A live session").WebSocketException
        self._url, self._plan, self._rng = url + PATH, plan, rng
        self._from = (address, 0) if address else None
        self._packets = _packets(plan.audio)
        self._stopped_at: int | None = None  # packets after which it finishes early
        self._token = ""
        self._idle_s = 30.0
        self._acknowledged = 0
        self._next_packet = 0
        self._over = False
        self._cuts = list(plan.cuts_s)
        self.heard = Heard(asyncio.get_running_loop().time())
        self._ledger = Ledger(self.heard)

    def finish_early(self) -> None:
        """Say no more, and wait for what is still to come of it."""
        if self._stopped_at is None:
            self._stopped_at = self._due()

    @property
    def said_s(self) -> float:
        """How much of the recording is said in all."""
        return self._total * BLOCK_S

    @property
    def _total(self) -> int:
        return len(self._packets) if self._stopped_at is None else self._stopped_at

    def _due(self) -> int:
        """How many packets have been spoken by now."""
        elapsed_s = asyncio.get_running_loop().time() - self.heard.began_s
        return min(int(elapsed_s / BLOCK_S), len(self._packets))

    async def run(self) -> Heard:
        """The whole session.

        Returns:
            What came of it. ``failure`` says what went wrong, if anything did.

        Raises:
            RefusedError: the server is full.
        """
        try:
            await self._converse()
            if self._plan.audits:
                await self._audit()
        except SessionError as error:
            self.heard.failure = str(error)
        return self.heard

    # --- connections ---

    async def _converse(self) -> None:
        attempts = 0
        while not self._over:
            try:
                async with self._connect() as connection:
                    await self._open(connection, self._resume_from)
                    attempts = 0
                    await self._talk(connection)
            except (OSError, TimeoutError, self._lost) as error:
                if not self.heard.session:
                    raise SessionRefusedError(f"no connection: {error!r}") from error
                attempts += 1
                if attempts > ATTEMPTS:
                    raise SessionError(f"It could not come back after {ATTEMPTS} attempts: {error!r}") from error
                await asyncio.sleep(1.0 if attempts > 1 else self._rng.uniform(*AWAY_S))

    def _connect(self) -> Any:
        return self._websockets.connect(
            self._url, compression=None, max_size=1_000_000, local_addr=self._from, proxy=None, close_timeout=5
        )

    @property
    def _resume_from(self) -> int:
        return self._acknowledged if self._plan.audits else self._ledger.last_seq

    async def _open(self, connection: Any, last_event: int) -> None:
        if self.heard.session:
            opening = {"type": "resume", "session": self.heard.session, "token": self._token, "last_event": last_event}
        else:
            opening = {"type": "start", **self._plan.options}
        await connection.send(json.dumps(opening))
        started = self._parsed(await asyncio.wait_for(connection.recv(), SILENT_S))
        if started["type"] != "started":
            raise SessionError(f"The server answers {started['type']!r} where 'started' is due.")
        if self.heard.session:
            self.heard.resumed += 1
            self._ledger.resume(last_event)
        else:
            self.heard.began_s = asyncio.get_running_loop().time()
        self.heard.session, self._token, self._idle_s = started["session"], started["token"], started["idle_s"]
        self._next_packet = started["next_packet"]

    def _parsed(self, message: str | bytes) -> dict[str, Any]:
        if isinstance(message, bytes):
            raise SessionError("The server sends sound where no event announced it.")
        found: dict[str, Any] = json.loads(message)
        if found["type"] == "error":
            if found["code"] == Close.BUSY.code and not self.heard.session:
                raise SessionRefusedError(found["text"])
            if not Close[found["code"].upper()].resumable:
                raise SessionError(f"The server closes the session, {found['code']}: {found['text']}")
        return found

    async def _talk(self, connection: Any) -> None:
        """Until the session is over, or the connection is lost or cut."""
        sending = asyncio.create_task(self._send(connection))
        try:
            await self._receive(connection)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = min(self._due(), self._total)
            while self._next_packet < due:
                await connection.send(self._packets[self._next_packet])
                self._next_packet += 1
            if self._cuts and loop.time() - self.heard.began_s >= self._cuts[0]:
                self._cuts.pop(0)
                self.heard.cuts += 1
                connection.transport.abort()
                return
            if self._next_packet >= self._total:
                break
            await asyncio.sleep(max(0.0, self.heard.began_s + (due + 1) * BLOCK_S - loop.time()))
        await connection.send(json.dumps({"type": "finish", "packets": self._total}))
        while True:
            await asyncio.sleep(self._idle_s / 3)
            await connection.send('{"type": "ping"}')

    async def _receive(self, connection: Any) -> None:
        unacknowledged = 0
        while not self._over:
            message = self._parsed(await asyncio.wait_for(connection.recv(), SILENT_S))
            if "seq" not in message:
                continue
            await self._skip_sound(connection, message)
            self._ledger.take(message)
            self._over = message["type"] == "ended"
            unacknowledged += 1
            if not self._plan.audits and (message["type"] == "spoken" or unacknowledged >= ACK_EVERY_EVENTS):
                unacknowledged = 0
                await connection.send(json.dumps({"type": "ack", "event": message["seq"]}))
                self._acknowledged = message["seq"]
            late_s = asyncio.get_running_loop().time() - self.heard.began_s - self.said_s
            if late_s > TAIL_S:
                raise SessionError(f"It is not over {TAIL_S:g} s after the last word.")
        async with asyncio.timeout(SILENT_S):
            await connection.wait_closed()  # by the server: who closes first leaves for good
        reason = self.heard.events[-1].get("reason")
        if reason != "finished":
            raise SessionError(f"The server ended the session: {reason}")

    async def _skip_sound(self, connection: Any, event: Record) -> None:
        """A piece of the voice follows its event; it must be whole."""
        missing = event.get("samples", 0)
        while missing > 0:
            chunk = await asyncio.wait_for(connection.recv(), SILENT_S)
            if isinstance(chunk, str):
                self._parsed(chunk)
                raise SessionError("The server sends text where the sound of an event goes on.")
            missing -= len(Packet.unpack(chunk).payload) // 2

    async def _audit(self) -> None:
        """Ask for everything again that the server keeps of the session, and compare."""
        try:
            async with self._connect() as connection:
                await self._open(connection, 0)
                while True:
                    message = self._parsed(await asyncio.wait_for(connection.recv(), SILENT_S))
                    if "seq" in message:
                        await self._skip_sound(connection, message)
                        self._ledger.take(message)
                        if message["type"] == "ended":
                            return
        except (OSError, TimeoutError, self._lost) as error:
            raise SessionError(f"What it keeps cannot be asked for again: {error!r}") from error


def _packets(audio: Audio) -> Sequence[bytes]:
    starts = range(0, len(audio.samples), BLOCK)
    return [Packet(n, at, to_pcm16(audio.samples[at : at + BLOCK])).pack() for n, at in enumerate(starts)]
