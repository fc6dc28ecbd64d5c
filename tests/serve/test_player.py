"""The voice at the client: what it plays is not heard as speech, and it stops when somebody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mmpipe.batching import MonotonicClock
from mmpipe.client import ClientOptions, LiveClient
from mmpipe.pipelines.live import CommittedEvent, InterruptedEvent, SpokenEvent
from mmpipe.serve.server import Server

PAUSE = np.zeros(16_000, np.float32)


async def say(
    rig: Any, manager: Any, wire: Any, started: Any, sound: np.ndarray, *, also: Callable[[], None]
) -> list[Any]:
    """Say ``sound`` as it would be spoken, and finish. ``also``: done at every half second."""
    session, packets = manager.sessions[started["session"]], rig.packets(sound)
    for at in range(0, len(packets), 5):
        also()
        for packet in packets[at : at + 5]:
            wire.say(packet)
        async with asyncio.timeout(20):
            while not (session.next_packet >= min(at + 5, len(packets)) and session._live.idle):
                await asyncio.sleep(0.001)
    wire.say({"type": "finish", "packets": len(packets)})
    return list(await wire.rest())


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({}, "w0 w1 w2 w3 w4. w20 w21"),  # two seconds of voice, three times a second of pause
        ({"headphones": True}, "w0 w1 w2 w3 w4. w10 w11 w20 w21"),
    ],
)
def test_what_comes_while_the_voice_plays_is_heard_with_headphones_only(
    rig: Any, fields: dict[str, Any], heard: str
) -> None:
    sound = np.concatenate([rig.spell(range(5)), PAUSE, rig.spell([10, 11]), PAUSE, PAUSE, rig.spell([20, 21])])

    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, drafts=False, **fields)
        assert rig.committed(await say(rig, manager, wire, started, sound, also=lambda: None)) == heard

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_player_that_says_that_it_does_not_play_opens_the_ears(rig: Any) -> None:
    sound = np.concatenate([rig.spell(range(5)), PAUSE, rig.spell([10, 11])])

    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, drafts=False)
        messages = await say(
            rig, manager, wire, started, sound, also=lambda: wire.say({"type": "playing", "playing": False})
        )
        assert rig.committed(messages) == "w0 w1 w2 w3 w4. w10 w11"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_vanished_while_it_played_does_not_leave_its_session_deaf(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True)
        wire.say({"type": "playing", "playing": True})
        for packet in rig.packets(rig.spell(range(5))):
            wire.say(packet)
        wire.say({"type": "ping"})
        await wire.until("pong")
        wire.vanish()
        await wire.task
        back = rig.wire(app)
        started = await back.resume(started, 0)
        packets = rig.packets(np.concatenate([rig.spell(range(5)), rig.spell([10, 11]), PAUSE]))
        for packet in packets[started["next_packet"] :]:
            back.say(packet)
        back.say({"type": "finish", "packets": len(packets)})
        assert rig.committed(await back.rest()) == "w10 w11"
        assert not manager.live_sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_an_answer_makes_the_voice_stop_and_what_was_not_sent_of_it_is_not_sent(rig: Any) -> None:
    sound = np.concatenate([rig.spell(range(5)), PAUSE, rig.spell([10, 11, 12])])

    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        fields = {"headphones": True, "barge_in": True, "drafts": False}
        started = await wire.start(to="pt", speak=True, **fields)
        wire.reading.clear()

        def kinds() -> list[str]:
            return [entry.kind for entry in manager.sessions[started["session"]].log._entries]

        packets = rig.packets(sound)
        session = manager.sessions[started["session"]]
        for at in range(0, len(packets), 5):
            for packet in packets[at : at + 5]:
                wire.say(packet)
            async with asyncio.timeout(20):
                while not (session.next_packet >= min(at + 5, len(packets)) and session._live.idle):
                    await asyncio.sleep(0.001)
        assert "interrupted" in kinds()
        wire.reading.set()
        wire.say({"type": "finish", "packets": len(packets)})
        messages = [m for m in await wire.rest() if isinstance(m, dict)]
        (stop,) = [m for m in messages if m["type"] == "interrupted"]
        assert stop["dropped"] == 1
        assert not [m for m in messages if m["type"] == "spoken" and m["seq"] < stop["seq"]]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_forgets_what_it_was_sent_before_an_interruption(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        server = Server(manager, port=0)
        serve = asyncio.create_task(server.serve())
        await settle(lambda: server.started)
        url = f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        options = ClientOptions(source="en", to="pt", speak=True, headphones=True, barge_in=True, drafts=False)
        async with LiveClient(url, options) as client:
            session = manager.sessions[client.session]
            sound = np.concatenate([rig.spell(range(5)), PAUSE, rig.spell([10, 11, 12]), PAUSE])
            for n, at in enumerate(range(0, len(sound), 8_000), 1):
                await client.send(sound[at : at + 8_000])
                await settle(lambda n=n: session.next_packet >= 5 * n and session._live.idle)
            await client.finish()
            await settle(lambda: session.ended)
            events = [event async for event in client]  # nothing was read before
        kinds = [type(event) for event in events]
        assert kinds.count(InterruptedEvent) == 1
        assert SpokenEvent not in kinds[: kinds.index(InterruptedEvent)]
        assert SpokenEvent in kinds[kinds.index(InterruptedEvent) :]  # the answer, spoken
        assert (
            " ".join(event.text for event in events if isinstance(event, CommittedEvent))
            == "w0 w1 w2 w3 w4. w10 w11 w12"
        )
        server.should_exit = True
        await asyncio.wait_for(serve, 20)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_what_a_client_says_of_its_player_is_said_again_after_a_lost_connection(
    rig: Any, settle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool | None] = []

    async def talk() -> None:
        manager = rig.manager(MonotonicClock())
        server = Server(manager, port=0)
        serve = asyncio.create_task(server.serve())
        await settle(lambda: server.started)
        url = f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        async with LiveClient(url, ClientOptions(source="en", to="pt", speak=True), retry_delays_s=(0.0,)) as client:
            session = manager.sessions[client.session]
            monkeypatch.setattr(session._live, "note_playing", told.append)
            await client.send(rig.spell([1]))
            client.note_playing(True)
            await settle(lambda: told == [True])
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await settle(lambda: told == [True, None, True])
            client.note_playing(False)
            await settle(lambda: told[-1] is False)
            assert client.reconnections == 1
        server.should_exit = True
        await asyncio.wait_for(serve, 20)

    asyncio.run(asyncio.wait_for(talk(), 60))
