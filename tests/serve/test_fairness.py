"""What one client costs the others: turns of the event loop, seats, memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mmpipe.serve.packets import PIECE_S
from mmpipe.serve.wire import Packet


class Turns:
    """Counts the turns that others have while a session hears, and how much it hears in one."""

    def __init__(self, session: Any) -> None:
        self.count = 0
        self.heard: dict[int, int] = {}  # samples, by turn
        self._push = session._live.push
        session._live.push = self._listen
        self._task = asyncio.create_task(self._turn())

    def _listen(self, samples: np.ndarray) -> None:
        self.heard[self.count] = self.heard.get(self.count, 0) + len(samples)
        self._push(samples)

    async def _turn(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    def stop(self) -> None:
        self._task.cancel()


async def turns_until(condition: Callable[[], bool]) -> None:
    """As ``settle``, without letting time pass."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("rate_hz", "messages", "sound_s"),
    [
        (16_000, [Packet(0, 29 * 16_000, b"\0\0").pack()], 29),
        (48_000, [Packet(0, 29 * 48_000, b"\0\0").pack()], 29),
        (8_000, [Packet(0, 0, bytes(64_000)).pack()], 4),
        # held back until the end, with a gap before each
        (
            16_000,
            [*(Packet(n, n * 16_000, b"\0\0").pack() for n in range(1, 30)), {"type": "finish", "packets": 30}],
            29,
        ),
        # and all given out by the one that was missing
        (16_000, [Packet(n, n * 16_000, b"\0\0").pack() for n in (*range(1, 30), 0)], 29),
    ],
)
def test_no_message_takes_the_loop_for_long(rig: Any, rate_hz: int, messages: list[Any], sound_s: float) -> None:
    """Ten bytes that stood for 30 s of silence held it for 100 ms, 32 packets with gaps as well."""

    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start(rate_hz=rate_hz)
        turns = Turns(manager.sessions[started["session"]])
        for message in messages:
            wire.say(message)
        wire.say({"type": "ping"})
        await wire.until("pong")
        turns.stop()
        assert sum(turns.heard.values()) == pytest.approx(sound_s * 16_000, abs=400)
        assert max(turns.heard.values()) <= 1.25 * PIECE_S * 16_000 + 64
        wire.vanish(1000)
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_messages_that_come_all_at_once_leave_others_their_turns(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        turns = Turns(manager.sessions[started["session"]])
        for _ in range(150):
            wire.say({"type": "playing", "playing": False})
        wire.say({"type": "ping"})
        await wire.until("pong")
        turns.stop()
        assert turns.count >= 150
        wire.vanish(1000)
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_sound_whose_connection_was_lost_while_it_was_heard_is_heard_in_the_next(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        first, rest = rig.spell([1]), rig.spell([2])
        wire = rig.wire(app)
        started = await wire.start()
        session = manager.sessions[started["session"]]
        wire.say(Packet(0, 0, (first * 32768).astype("<i2").tobytes()).pack())
        wire.say(Packet(1, 20 * 16_000, (rest * 32768).astype("<i2").tobytes()).pack())  # 20 s later
        await turns_until(lambda: session.received_s > 2)
        again = rig.wire(app)
        await again.resume(started, 0)
        await wire.task
        assert session.received_s < 20
        assert session.next_packet == 2  # the client need not send it again
        again.say({"type": "finish", "packets": 2})
        messages = await again.rest()
        words = [word for m in messages if isinstance(m, dict) and m["type"] == "committed" for word in m["words"]]
        assert [word["text"] for word in words] == ["w1", "w2"]
        assert words[1]["start_s"] == pytest.approx(20, abs=0.1)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_sound_that_was_taken_in_is_heard_when_the_server_stops(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        session = manager.sessions[started["session"]]
        wire.say(Packet(0, 20 * 16_000, (rig.spell([2]) * 32768).astype("<i2").tobytes()).pack())
        await turns_until(lambda: session.received_s > 2)
        assert session.received_s < 20
        await manager.stop()
        assert rig.committed(await wire.rest()) == "w2"
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_leaving_for_good_counts_also_while_the_server_is_sending(rig: Any, settle: Callable[..., Any]) -> None:
    """Sending fails first, without the code that the client gave: the session lived on for ``grace_s``."""

    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        session = manager.sessions[(await wire.start())["session"]]
        wire.say(rig.packets(rig.spell([1]))[0])
        wire.say({"type": "ping"})
        await wire.until("pong")
        wire.reading.clear()
        wire.say({"type": "ping"})
        await asyncio.sleep(0.01)  # the answer is being sent
        wire.gone = True
        for _ in range(3):
            wire.say({"type": "ping"})
        wire.vanish(1000)
        wire.reading.set()
        await wire.task
        await settle(lambda: session.ended)
        assert not manager.sessions
        figures = (await rig.get(app, "/metrics"))[1]
        assert 'mmpipe_sessions_ended_total{cause="left"} 1.0' in figures

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_network_that_is_lost_while_the_server_is_sending_can_still_be_resumed(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        wire.say(rig.packets(rig.spell([1]))[0])
        wire.reading.clear()
        wire.say({"type": "ping"})
        await asyncio.sleep(0.01)
        wire.gone = True
        wire.vanish(1005)
        wire.reading.set()
        await wire.task
        assert started["session"] in manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


async def ended_without_its_client(rig: Any, app: Any, manager: Any, settle: Any) -> dict[str, Any]:
    """A session that has ended, whose client has fetched nothing."""
    wire = rig.wire(app)
    started = await wire.start()
    for packet in rig.packets(rig.spell([1, 2])):
        wire.say(packet)
    wire.say({"type": "ping"})
    await wire.until("pong")
    session = manager.sessions[started["session"]]
    wire.reading.clear()
    wire.say({"type": "finish", "packets": 10})
    await settle(lambda: session.ended)
    wire.vanish()
    await wire.task
    return dict(started)


@pytest.mark.parametrize("limit", [{"max_ended_sessions": 2}, {"max_ended_bytes": 1_500}])
def test_sessions_that_have_ended_are_bounded_and_the_oldest_go_first(
    rig: Any, settle: Callable[..., Any], limit: dict[str, int]
) -> None:
    """They took no seat: whoever began and left had the server keep any number of them for a minute."""

    async def talk() -> None:
        app, manager = rig.app(**limit)
        ended = []
        for _ in range(6):
            ended.append(await ended_without_its_client(rig, app, manager, settle))
            rig.clock.time_s += 0.1
        await manager.sweep()
        kept = list(manager.sessions)
        assert kept == [started["session"] for started in ended[-len(kept) :]]
        assert 1 <= len(kept) <= 2
        assert sum(session.log.size_bytes for session in manager.sessions.values()) <= limit.get(
            "max_ended_bytes", 10_000
        )
        figures = (await rig.get(app, "/metrics"))[1]
        assert f'mmpipe_sessions{{client="ended"}} {len(kept)}.0' in figures
        assert f"mmpipe_ended_sessions_dropped_total {6 - len(kept)}.0" in figures
        gone = rig.wire(app)
        assert (await gone.resume(ended[0], 0))["code"] == "unknown_session"
        back = rig.wire(app)
        await back.resume(ended[-1], 0)
        assert rig.committed(await back.rest()) == rig.text([1, 2])

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_does_not_fetch_the_end_keeps_its_session_only_so_long(rig: Any, settle: Any) -> None:
    """With pings it could, for ever, and without a seat."""

    async def talk() -> None:
        app, manager = rig.app(grace_s=60, close_timeout_s=0.01)
        wire = rig.wire(app)
        started = await wire.start()
        for packet in rig.packets(rig.spell([1, 2])):
            wire.say(packet)
        await settle(lambda: manager.sessions[started["session"]].received_s > 0.99)
        wire.reading.clear()
        wire.say({"type": "finish", "packets": 10})
        await settle(lambda: manager.sessions[started["session"]].ended)
        for _ in range(4):
            rig.clock.time_s += 20
            wire.say({"type": "ping"})
            await asyncio.sleep(0.01)
            await manager.sweep()
        assert not manager.sessions
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))
