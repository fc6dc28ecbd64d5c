"""Connections that are opened and left alone, read nothing or never end: they cost little, and lock nobody out."""

from __future__ import annotations

import asyncio
import gc
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mmpipe.serve.connections import CLOSE_S, Connections, Phase
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.repeats import counting_repeats
from mmpipe.serve.server import Server

PATIENCE_S = 20
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Peer:
    """One end of a connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)

    async def health(self) -> bool:
        self.send(HEALTH)
        head = await self.head()
        return head.startswith(b"HTTP/1.1 200") and b"ok" in await asyncio.wait_for(
            self.reader.readexactly(15), PATIENCE_S
        )

    async def ended(self) -> bytes:
        """What came before the server ended the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE_S)
        except ConnectionError:
            return b""

    def frame(self, opcode: int, payload: bytes = b"", fin: bool = True) -> None:
        head = bytes([opcode | (0x80 if fin else 0), 0x80 | len(payload)]) + bytes(4)  # a mask of zeros
        self.send(head + payload)


class Served:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.peers: list[Peer] = []

    async def connect(self) -> Peer:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        peer = Peer(*await asyncio.open_connection("127.0.0.1", port))
        self.peers.append(peer)
        return peer

    async def websocket(self) -> Peer:
        peer = await self.connect()
        peer.send(UPGRADE)
        assert (await peer.head()).startswith(b"HTTP/1.1 101")
        return peer


@asynccontextmanager
async def serving(rig: Any, audit_log: Path | None = None, **limits: Any) -> AsyncIterator[Served]:
    manager = rig.manager(start_timeout_s=PATIENCE_S, audit_log=audit_log)
    server = Server(manager, port=0, network=NetworkOptions(**limits))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    served = Served(server)
    try:
        yield served
    finally:
        for peer in served.peers:
            peer.writer.transport.abort()
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_S)


def run(talk: Any) -> None:
    asyncio.run(asyncio.wait_for(talk, 60))


def test_health_answers_beside_three_hundred_half_open_connections(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with serving(rig) as served:
            for n in range(300):
                (await served.connect()).send(HEALTH[: n % len(HEALTH)])
            began_s = time.monotonic()
            assert await (await served.connect()).health()
            assert time.monotonic() - began_s < 5.0

    run(talk())
    assert not caplog.records


def test_half_open_connections_make_room_for_one_that_comes(rig: Any) -> None:
    async def talk() -> None:
        async with serving(rig, max_connections=8) as served:
            asking = await served.connect()
            assert await asking.health()
            for _ in range(50):
                (await served.connect()).send(b"GET / HT")
            assert await (await served.connect()).health()
            assert await asking.health()  # it has asked before: the others go first
            assert len(served.server.open_connections) <= 8

    run(talk())


def test_an_address_has_its_share_and_trusted_proxies_have_no_limit(rig: Any) -> None:
    async def talk() -> None:
        async with serving(rig, max_connections_per_address=4, trusted_proxies=()) as served:
            held = [await served.websocket() for _ in range(4)]
            assert await (await served.connect()).ended() == b""
            held[0].writer.transport.abort()
            while len(served.server.open_connections) > 3:
                await asyncio.sleep(0.005)
            assert await (await served.connect()).health()
        async with serving(rig, max_connections_per_address=4) as served:
            assert all([await served.websocket() for _ in range(10)])

    run(talk())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", HEALTH + HEALTH[:9]])
def test_a_request_that_does_not_become_whole_ends(rig: Any, sent: bytes) -> None:
    async def talk() -> None:
        async with serving(rig, request_timeout_s=0.3) as served:
            peer = await served.connect()
            peer.send(sent)
            sending = asyncio.create_task(trickle(peer, b"X"))
            answered = await peer.ended()
            sending.cancel()
            assert (b"ok" in answered) == sent.startswith(HEALTH)

    run(talk())


async def trickle(peer: Peer, data: bytes) -> None:
    """Something now and then, which keeps a connection from being idle."""
    while True:
        await asyncio.sleep(0.05)
        peer.send(data)


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """An application that wants all of a body, and refuses what it does not find."""
    if scope["type"] == "http":
        refused = scope["path"] == "/refused"
        while not refused and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 404 if refused else 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})
    elif scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize(("path", "answered"), [(b"/wanted", False), (b"/refused", True)])
def test_a_body_that_trickles_ends_whether_it_is_wanted_or_not(
    path: bytes, answered: bool, rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmpipe.serve.connections.CLOSE_S", 0.3)
    monkeypatch.setattr("mmpipe.serve.server.create_app", lambda *_: reader)

    async def talk() -> None:
        async with serving(rig, body_window_s=0.3) as served:
            peer = await served.connect()
            peer.send(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n" % path)
            sending = asyncio.create_task(trickle(peer, b"x"))
            came = await peer.ended()
            sending.cancel()
            assert (b"answered" in came) == answered

    run(talk())


def test_pings_whose_answers_are_never_read_do_not_gather(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        async with serving(rig, max_control_frames_per_s=1e9, max_unread_bytes=200_000) as served:
            peer = await served.websocket()
            peer.writer.transport.pause_reading()
            (connection,) = served.server.open_connections._open
            most = 0
            with pytest.raises(ConnectionError):
                while True:
                    peer.send((b"\x89\xfd" + bytes(4) + b"x" * 125) * 100)
                    most = max(most, connection.unread_bytes)
                    await peer.writer.drain()
                    await asyncio.sleep(0)
            assert most < 250_000
            await settle(lambda: not len(served.server.open_connections))

    run(talk())


@pytest.mark.parametrize("opcode", [9, 10])
def test_a_flood_of_control_frames_ends_the_connection(rig: Any, opcode: int) -> None:
    async def talk() -> None:
        async with serving(rig) as served:
            peer = await served.websocket()
            for _ in range(40):  # so many at once may be
                peer.frame(opcode)
            peer.frame(1, b'{"type": "ping"}')
            for _ in range(40):
                peer.frame(opcode)
            assert struct.pack("!H", 1008) + b"too many pings" in await peer.ended()

    run(talk())


def test_a_message_in_many_pieces_is_refused_and_one_in_a_few_is_not(rig: Any) -> None:
    async def talk() -> None:
        async with serving(rig) as served:
            for pieces, reason in ((64, b"bad_message"), (65, b"more than 64 fragments")):
                peer = await served.websocket()
                for n in range(pieces):
                    peer.frame(0 if n else 1, b"x", fin=n == pieces - 1)
                await asyncio.wait_for(peer.reader.readuntil(reason), PATIENCE_S)

    run(talk())


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """Its collection takes time, too, and not for what is measured."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage")
@pytest.mark.parametrize("frame", [b"\x00\x80", b"\x81\x80", b"\x89\x80", b"\x8a\x80"])
def test_a_flood_of_empty_frames_does_not_hold_up_others(rig: Any, frame: bytes) -> None:
    async def talk() -> None:
        async with serving(rig) as served:
            peer = await served.websocket()
            gap_s = asyncio.create_task(longest_gap_s())
            if frame[0] == 0:
                peer.frame(1, b"x", fin=False)
            peer.send((frame + bytes(4)) * 100_000)
            await peer.ended()
            assert await gap_s < 0.06  # uvicorn alone took 0.9 s

    run(talk())


async def longest_gap_s() -> float:
    """For how long nothing else ran, within a second; by the time of this thread, as other programs are not meant."""
    began_s, last_s, longest_s = time.monotonic(), time.thread_time(), 0.0
    while time.monotonic() - began_s < 1.0:
        await asyncio.sleep(0)
        now_s = time.thread_time()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    return longest_s


def test_nonsense_is_one_line_of_log(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        async with serving(rig) as served:
            for _ in range(100):
                peer = await served.connect()
                peer.send(b"\x16\x03\x01 nonsense\r\n\r\n")
                assert b" 400 " in await peer.ended()

    with counting_repeats():
        run(talk())
    assert [record.getMessage() for record in caplog.records] == [
        "Invalid HTTP request received.",
        "99 more like it: Invalid HTTP request received.",
    ]


def test_refused_connections_are_noted(rig: Any, tmp_path: Any) -> None:

    async def talk() -> None:
        async with serving(rig, tmp_path / "audit", max_connections=1) as served:
            await served.websocket()
            for _ in range(3):
                assert await (await served.connect()).ended() == b""

    run(talk())
    refused = [line for line in (tmp_path / "audit").read_text().splitlines() if '"connection.refused"' in line]
    assert len(refused) == 3
    line = refused[0]
    assert '"too many connections"' in line
    assert '"127.0.0.1"' in line


# --- by the clock ---


class Clock:
    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s


class Line:
    """A connection as :class:`Connections` sees it."""

    def __init__(self, phase: Phase = Phase.REQUEST, address: str = "192.0.2.1") -> None:
        self.address, self.phase = address, phase
        self.requests = self.received_bytes = self.unread_bytes = 0
        self.reading, self.closing, self.aborted = True, False, False

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connections(clock: Clock) -> Connections:
    return Connections(NetworkOptions(), clock=clock)  # type: ignore[arg-type]


def lasts_s(connections: Connections, clock: Clock, line: Line, each_s: Callable[[], object] = lambda: None) -> int:
    """For how many seconds ``line`` may be as it is, an hour at most."""
    assert connections.admit(line)
    for second in range(3600):
        connections.sweep()
        if line.aborted:
            return second
        clock.time_s += 1.0
        each_s()
    return 3600


def test_each_phase_has_its_time(connections: Connections, clock: Clock) -> None:
    assert lasts_s(connections, clock, Line(Phase.REQUEST)) == 11
    assert lasts_s(connections, clock, Line(Phase.REFUSED_BODY)) == CLOSE_S + 1
    assert lasts_s(connections, clock, Line(Phase.BODY)) == 21
    for phase in (Phase.ANSWER, Phase.WEBSOCKET):
        assert lasts_s(connections, clock, Line(phase)) == 3600
    closing = Line()
    closing.closing = True
    assert lasts_s(connections, clock, closing) == CLOSE_S + 1


def test_who_asks_again_and_again_may_stay(connections: Connections, clock: Clock) -> None:
    line = Line()
    assert lasts_s(connections, clock, line, lambda: setattr(line, "requests", line.requests + 1)) == 3600


@pytest.mark.parametrize(("a_second", "lasting"), [(1_100, True), (900, False)])
def test_a_body_must_come_at_some_rate(connections: Connections, clock: Clock, a_second: int, lasting: bool) -> None:
    line = Line(Phase.BODY)
    more = lambda: setattr(line, "received_bytes", line.received_bytes + a_second)  # noqa: E731
    assert (lasts_s(connections, clock, line, more) == 3600) == lasting


def test_a_body_that_the_application_lets_wait_is_not_slow(connections: Connections, clock: Clock) -> None:
    line = Line(Phase.BODY)
    line.reading = False
    assert lasts_s(connections, clock, line) == 3600


def test_who_reads_nothing_goes_and_who_reads_slowly_stays(connections: Connections, clock: Clock) -> None:
    deaf = Line(Phase.ANSWER)
    assert lasts_s(connections, clock, deaf, lambda: setattr(deaf, "unread_bytes", deaf.unread_bytes + 100)) < 40
    slow = Line(Phase.ANSWER)
    slow.unread_bytes = 10_000_000
    assert lasts_s(connections, clock, slow, lambda: setattr(slow, "unread_bytes", slow.unread_bytes - 1_000)) == 3600


def test_descriptors_bound_the_connections_whatever_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", exc_type=ImportError)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 40))
    connections = Connections(NetworkOptions(max_connections_per_address=1000))
    assert sum(connections.admit(Line(Phase.WEBSOCKET)) for _ in range(50)) == 10


def test_a_connection_is_counted_until_it_is_over(connections: Connections) -> None:
    lines = [Line(Phase.WEBSOCKET, f"192.0.2.{n % 4}") for n in range(100)]
    assert all(connections.admit(line) for line in lines)
    for line in lines:
        connections.release(line)
        connections.release(line)
    assert len(connections) == 0
    assert not connections._of_address
