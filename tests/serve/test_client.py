"""The client and the server over a real network connection, which breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.batching import MonotonicClock
from mmpipe.client import ClientOptions, ConnectionLostError, LiveClient, send_file
from mmpipe.errors import InputError, MediaError
from mmpipe.pipelines.live import CommittedEvent, EndedEvent, Event, SpokenEvent, TranslatedEvent
from mmpipe.serve.server import Server, run
from mmpipe.serve.wire import Close, ProtocolError
from mmpipe.types import Audio

SAID = list(range(20))
AT_ONCE = (0.0, 0.001, 0.01, 0.1, 1.0)


@asynccontextmanager
async def serving(manager: Any) -> AsyncIterator[Server]:
    """A server on a free port of this machine."""
    server = Server(manager, port=0)
    serve = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait_for(serve, 20)


def port(server: Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


class Network:
    """Stands between client and server, and can break."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._writers: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def __aenter__(self) -> Network:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        onward_reader, onward = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, onward}
        await asyncio.gather(self._pass(reader, onward), self._pass(onward_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()


def committed(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, CommittedEvent))


def test_a_client_hears_everything_through_a_network_that_breaks(rig: Any) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with serving(manager) as server, Network(port(server)) as network:
            options = ClientOptions(source="en", to="pt", speak=True, headphones=True)
            async with LiveClient(network.url, options, retry_delays_s=AT_ONCE) as client:
                session = manager.sessions[client.session]

                async def speak() -> None:
                    sound = rig.spell(SAID)
                    for n, at in enumerate(range(0, len(sound), 1_600)):
                        await client.send(sound[at : at + 1_600])
                        if n % 25 == 12:  # in the middle of a word
                            network.cut()
                        elif n % 5 == 4:  # as live sound would be: worked off as it comes
                            while session.next_packet <= n or not session._live.idle:
                                await asyncio.sleep(0.001)
                    await client.finish()

                speaking = asyncio.create_task(speak())
                events = [event async for event in client]
                await speaking
                assert client.reconnections >= 3
            assert committed(events) == rig.text(SAID)
            final = [event.text for event in events if isinstance(event, TranslatedEvent) and event.final]
            assert " ".join(final) == rig.text(SAID).upper()
            spoken = [event for event in events if isinstance(event, SpokenEvent)]
            assert len(spoken) == len(final)
            assert all(abs(np.abs(event.audio.samples).max() - 0.1) < 0.3 for event in spoken)
            assert all(event.audio.duration_s > 1 for event in spoken)
            seqs = [event.seq for event in events]
            assert seqs == sorted(set(seqs))
            assert isinstance(events[-1], EndedEvent)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_server_that_stops_tells_its_clients(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with serving(manager) as server:
            url = f"ws://127.0.0.1:{port(server)}/v1/live"
            async with LiveClient(url, ClientOptions(source="en"), retry_delays_s=AT_ONCE) as client:
                await client.send(rig.spell(SAID))
                await settle(lambda: manager.sessions[client.session].next_packet == 100)
                server.should_exit = True
                events = [event async for event in client]
        assert committed(events) == rig.text(SAID)
        assert isinstance(events[-1], EndedEvent)
        assert "shutting down" in events[-1].reason

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_opus_travels_from_client_to_server(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        options = ClientOptions(source="en", format="opus", rate_hz=16_000)
        async with (
            serving(manager) as server,
            LiveClient(f"ws://127.0.0.1:{port(server)}", options) as client,
        ):
            tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
            await client.send(tone.astype(np.float32))
            await client.finish()
            events = [event async for event in client]
            assert isinstance(events[-1], EndedEvent)
            (session,) = manager.sessions.values()
            assert session.received_s == pytest.approx(1.0, abs=0.05)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_file_is_sent_at_its_own_pace(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    media.save(Audio(rig.spell([3])), path)

    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with (
            serving(manager) as server,
            LiveClient(f"ws://127.0.0.1:{port(server)}", ClientOptions(source="en")) as client,
        ):
            began_s = asyncio.get_running_loop().time()
            await send_file(client, path)
            assert asyncio.get_running_loop().time() - began_s >= 0.5
            assert committed([event async for event in client]) == "w3"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_file_that_cannot_be_read_ends_the_session_and_is_an_error(rig: Any, tmp_path: Path) -> None:
    async def talk() -> None:
        async with (
            serving(rig.manager(MonotonicClock())) as server,
            LiveClient(f"ws://127.0.0.1:{port(server)}", ClientOptions(source="en")) as client,
        ):
            sending = asyncio.create_task(send_file(client, tmp_path / "missing.wav"))
            assert [event.type async for event in client] == ["ended"]
            with pytest.raises(MediaError, match=r"missing\.wav"):
                await sending

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_nothing_is_sent_or_kept_for_a_session_that_has_ended(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "minutes.wav"
    media.save(Audio(np.zeros(100 * 16_000, np.float32)), path)

    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with (
            serving(manager) as server,
            LiveClient(f"ws://127.0.0.1:{port(server)}", ClientOptions(source="en")) as client,
        ):
            sending = asyncio.create_task(send_file(client, path))
            ending = asyncio.create_task(manager.sessions[client.session].end("length", "a session may not last"))
            assert [event.type async for event in client] == ["ended"]
            assert client.over
            await sending
            await ending
            kept = len(client._kept)
            for _ in range(100):
                await client.send(np.zeros(1_600, np.float32))
            assert len(client._kept) == kept

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_a_refusal_reaches_the_caller(rig: Any) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock(), api_keys=frozenset({"open-sesame"}))
        async with serving(manager) as server:
            url = f"ws://127.0.0.1:{port(server)}"
            with pytest.raises(ProtocolError, match="API key") as caught:
                async with LiveClient(url, api_key="wrong"):
                    pass
            assert caught.value.close is Close.UNAUTHORISED
            async with LiveClient(url, api_key="open-sesame") as client:
                assert client.session in manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    async def talk() -> None:
        with pytest.raises(ConnectionLostError, match="Is the server running"):
            async with LiveClient("ws://127.0.0.1:1"):
                pass

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_network_that_stays_broken_is_an_error_after_all_attempts(rig: Any) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with serving(manager) as server:
            async with Network(port(server)) as network:
                client = LiveClient(network.url, retry_delays_s=(0.0, 0.001))
                await client.__aenter__()
            with pytest.raises(ConnectionLostError, match="any more"):
                async for _ in client:
                    pass
            with pytest.raises(ConnectionLostError):
                await client.send(np.zeros(100, np.float32))
            await client.close()

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_leaves_ends_its_session(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with serving(manager) as server:
            async with LiveClient(f"ws://127.0.0.1:{port(server)}") as client:
                await client.send(rig.spell([1]))
            await settle(lambda: not manager.sessions)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_message_over_the_limit_is_refused_by_the_server_itself(rig: Any) -> None:
    import websockets.asyncio.client
    from websockets.exceptions import ConnectionClosed

    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        async with serving(manager) as server:
            async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{port(server)}/v1/live") as connection:
                await connection.send(b"\0" * 100_000)
                with pytest.raises(ConnectionClosed) as caught:
                    while True:
                        await connection.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
            assert not manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_an_address_that_is_taken_is_said_before_models_are_loaded(rig: Any) -> None:
    async def talk() -> None:
        async with serving(rig.manager(MonotonicClock())) as server:
            with pytest.raises(InputError, match="Cannot listen"):
                run(port=port(server))

    asyncio.run(asyncio.wait_for(talk(), 60))
