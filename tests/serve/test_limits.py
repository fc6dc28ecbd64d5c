"""Who is admitted, and for how long. Time passes only when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.batching import BatcherStats
from mmpipe.errors import InputError
from mmpipe.pipelines.live import Answers
from mmpipe.serve.load import LoadMeter
from mmpipe.serve.options import ServeOptions, read_api_keys
from mmpipe.serve.session import Allowance
from mmpipe.serve.wire import ProtocolError


def test_one_session_too_many_is_refused_until_one_has_gone(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_sessions=2)
        wires = [rig.wire(app) for _ in range(3)]
        answers = [await wire.start() for wire in wires]
        assert [answer["type"] for answer in answers] == ["started", "started", "error"]
        assert answers[2]["code"] == "busy"
        assert "All 2 sessions" in answers[2]["text"]
        assert answers[2]["retry_after_s"] > 0
        assert await wires[2].hear() is None
        assert wires[2].closed_with == 4503
        wires[0].vanish(1000)
        await settle(lambda: manager.live_sessions != 2)
        again = rig.wire(app)
        assert (await again.start())["type"] == "started"
        for wire in (wires[1], again):
            wire.vanish(1000)
            await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_full_machine_admits_nobody_and_serves_those_who_are_there(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_lag_s=3.0)
        first = rig.wire(app)
        await first.start()
        manager.load.note_lag(4.0)
        late = rig.wire(app)
        refusal = await late.start()
        assert refusal["code"] == "busy"
        assert "4.0 s behind" in refusal["text"]
        first.say({"type": "ping"})
        assert await first.hear() == {"type": "pong"}
        rig.clock.time_s += 20  # and that is past
        first.say({"type": "ping"})
        await first.hear()
        next_one = rig.wire(app)
        assert (await next_one.start())["type"] == "started"
        for wire in (first, next_one):
            wire.vanish(1000)
            await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_load_is_what_the_recognizer_did_in_the_last_seconds(rig: Any) -> None:
    stats, answers = BatcherStats(), Answers()
    meter = LoadMeter(lambda: stats, lambda: answers, rig.clock)
    options = ServeOptions(max_response_s=1.0)

    def second(count: int, answer_s: float, run_s: float) -> None:
        nonlocal stats, answers
        meter.sample()
        rig.clock.time_s += 1
        stats = stats.plus(run_s=run_s, uptime_s=1)
        answers = Answers(answers.count + count, answers.total_s + count * answer_s)

    for _ in range(30):
        second(4, 0.2, 0.2)
    assert meter.response_s == pytest.approx(0.2)
    assert meter.utilization == pytest.approx(0.2)
    assert meter.refusal(options) is None
    second(4, 20.0, 0.2)  # some that took long, on a machine that is not full
    meter.sample()
    assert meter.response_s > 1
    assert meter.refusal(options) is None
    for _ in range(30):
        second(8, 2.0, 1.0)
    assert meter.response_s == pytest.approx(2.0)
    assert meter.utilization == pytest.approx(1.0)
    assert "takes 2.0 s" in str(meter.refusal(options))
    meter.forget()
    assert meter.refusal(options) is None


def test_silence_of_the_client_ends_its_connection_and_then_its_session(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(idle_s=30, grace_s=60)
        wire = rig.wire(app)
        started = await wire.start()
        wire.say(rig.packets(rig.spell([1]))[0])
        wire.say({"type": "ping"})
        await wire.hear()
        rig.clock.time_s += 25
        await manager.sweep()
        wire.say({"type": "ping"})
        assert await wire.hear() == {"type": "pong"}  # 25 s are nothing
        rig.clock.time_s += 31
        await manager.sweep()
        assert [m["code"] for m in await wire.rest()] == ["idle"]
        assert wire.closed_with == 4408
        await wire.task
        rig.clock.time_s += 59
        await manager.sweep()
        assert started["session"] in manager.sessions
        rig.clock.time_s += 2
        await manager.sweep()
        assert not manager.sessions
        late = rig.wire(app)
        assert (await late.resume(started, 0))["code"] == "unknown_session"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_session_that_lasts_too_long_is_finished_in_good_order(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_session_s=600)
        wire = rig.wire(app)
        await wire.start()
        for packet in rig.packets(rig.spell(range(10))):
            wire.say(packet)
        wire.say({"type": "ping"})
        await wire.until("pong")
        rig.clock.time_s += 601
        await manager.sweep()
        messages = await wire.rest()
        assert "10 minutes" in messages[-1]["reason"]
        assert wire.closed_with == 1000

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_who_does_not_start_is_sent_away(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(start_timeout_s=0.02)
        wire = rig.wire(app)
        assert [m["code"] for m in await wire.rest()] == ["idle"]
        assert manager.connections == 0

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_connections_that_do_not_start_are_bounded_and_the_oldest_makes_room(
    rig: Any, settle: Callable[..., Any]
) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_connections=3)
        waiting = [rig.wire(app) for _ in range(3)]
        await settle(lambda: manager.connections == 3)
        fourth = rig.wire(app)
        assert (await waiting[0].hear())["code"] == "busy"
        assert await waiting[0].hear() is None
        assert waiting[0].closed_with == 4503
        await settle(lambda: manager.connections == 3)
        for wire in (*waiting[1:], fourth):
            wire.vanish()
            await wire.task
        assert manager.connections == 0

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_too_many_messages_end_the_session(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_messages_per_s=10)
        wire = rig.wire(app)
        await wire.start()
        for _ in range(21):
            wire.say({"type": "ping"})
        messages = await wire.rest()
        assert messages[-1]["code"] == "too_fast"
        assert wire.closed_with == 4429
        assert not manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_what_was_not_sent_while_away_may_be_sent_at_once(rig: Any) -> None:
    allowance = Allowance(ServeOptions(max_messages_per_s=10, grace_s=60), rig.clock)
    rig.clock.time_s += 60
    for _ in range(600):
        allowance.spend()
    rig.clock.time_s += 1e6  # but not for ever
    for _ in range(620):
        allowance.spend()
    with pytest.raises(ProtocolError, match="longer packets"):
        allowance.spend()


def test_sound_faster_than_speech_is_refused(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app(max_ahead_s=2)
        wire = rig.wire(app)
        await wire.start()
        for packet in rig.packets(np.zeros(16_000 * 3, np.float32)):
            wire.say(packet)
        messages = await wire.rest()
        assert messages[-1]["code"] == "too_fast"
        assert "its own pace" in messages[-1]["text"]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_burst_of_connections_leaves_nothing_behind(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_sessions=20, max_connections=1000)
        before = len(asyncio.all_tasks())
        packet = rig.packets(rig.spell([1]))[0]

        async def come_and_go(n: int) -> None:
            wire = rig.wire(app)
            if n % 4 == 1:  # without a word
                wire.vanish()
            elif n % 4 == 2:  # in the middle of the start
                wire.say({"type": "start"})
                wire.vanish()
            else:
                await wire.start(to="pt")
                if n % 4 == 3:
                    wire.say(packet)
                wire.vanish(1006 if n % 4 == 3 else 1000)
            await wire.task

        for _ in range(10):
            await asyncio.gather(*(come_and_go(n) for n in range(20)))
            rig.clock.time_s += 61
            await manager.sweep()
        await settle(lambda: len(asyncio.all_tasks()) <= before)
        assert not manager.sessions
        assert manager.connections == 0
        figures = (await rig.get(app, "/metrics"))[1]
        assert "mmpipe_connections 0.0" in figures
        wire = rig.wire(app)  # and there is room
        assert (await wire.start())["type"] == "started"
        wire.vanish(1000)
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPIPE_API_KEYS", "one, two")
    path = tmp_path / "keys"
    path.write_text("# for the stage\nthree\n\n")
    assert read_api_keys(path) == ("one", "two", "three")
    monkeypatch.delenv("MMPIPE_API_KEYS")
    assert read_api_keys() == ()
    path.write_text("# nobody\n")
    with pytest.raises(InputError, match="holds no API key"):
        read_api_keys(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_api_keys(tmp_path / "missing")
    assert "one" not in repr(ServeOptions(api_keys=frozenset({"one"}))).replace("None", "")


def test_limits_that_nothing_can_satisfy_are_refused() -> None:
    with pytest.raises(InputError, match="max_sessions"):
        ServeOptions(max_sessions=0)
    with pytest.raises(InputError, match="replay_bytes"):
        ServeOptions(replay_bytes=10)
