"""Stages that fail or hang, and a server that is stopped: what happens to the session, and to its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

SAID = list(range(12))


async def whole(rig: Any, wire: Any, said: Any = SAID) -> list[Any]:
    """Say everything on a session that has started; gives all that is answered."""
    sound = rig.packets(rig.spell(said))
    for packet in sound:
        wire.say(packet)
    wire.say({"type": "finish", "packets": len(sound)})
    return list(await wire.rest())


def sentences(rig: Any, messages: list[Any]) -> list[str]:
    """What was translated: everything, in one piece or several, as recognition came to it."""
    found = [m["text"] for m in messages if m["type"] == "translated"]
    assert " ".join(found) == rig.text(SAID).upper()
    return found


def test_a_recognizer_that_fails_once_is_not_noticed(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start()
        rig.reader.failing = 1
        messages = await whole(rig, wire)
        assert rig.committed(messages) == rig.text(SAID)
        assert messages[-1]["reason"] == "finished"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_recognizer_that_always_fails_on_one_speaker_ends_that_session_alone(
    rig: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> tuple[str, str]:
        app, _manager = rig.app()
        rig.reader.poisoned = 40
        good, bad = rig.wire(app), rig.wire(app)
        names = (await good.start())["session"], (await bad.start())["session"]
        fine, broken = await asyncio.gather(whole(rig, good), whole(rig, bad, [40, 41]))
        assert rig.committed(fine) == rig.text(SAID)
        assert fine[-1]["reason"] == "finished"
        assert "cannot hear this" in broken[-1]["reason"]
        assert bad.closed_with == 1000  # the end was told: nothing is left to resume
        assert 'mmpipe_sessions_ended_total{cause="failed"} 1.0' in (await rig.get(app, "/metrics"))[1]
        return names

    good, bad = asyncio.run(asyncio.wait_for(talk(), 60))
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "WARNING" and record.name != "mmpipe.batching.worker"  # which took both in one batch
    ]
    assert [f"session {bad}" in text for text in warnings] == [True]
    assert not [text for text in warnings if good in text]


def test_a_recognizer_that_hangs_ends_its_sessions_and_the_server_says_it_is_not_ready(
    rig: Any, settle: Callable[..., Any]
) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        rig.models.deadline_s = 0.1
        wire = rig.wire(app)
        await wire.start()
        rig.reader.gate.clear()
        messages = await whole(rig, wire)
        assert messages[-1]["type"] == "ended"
        assert "did not answer within 0.1 seconds" in messages[-1]["reason"]
        assert (await rig.get(app, "/ready"))[0] == 503
        refused = rig.wire(app)
        assert "does not answer" in (await refused.start())["text"]
        rig.reader.gate.set()  # it comes to itself, which is found out without a session
        rig.models.deadline_s = 10
        await manager.sweep()
        async with asyncio.timeout(10):
            while (await rig.get(app, "/ready"))[0] != 200:
                await asyncio.sleep(0.005)
        again = rig.wire(app)
        await again.start()
        assert rig.committed(await whole(rig, again)) == rig.text(SAID)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_translation_that_fails_once_is_not_noticed(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", drafts=False)
        rig.upper.failing = 1
        messages = await whole(rig, wire)
        assert " ".join(m["text"] for m in messages if m["type"] == "translated") == rig.text(SAID).upper()
        assert not [m for m in messages if m["type"] == "warning"]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_translation_that_always_fails_is_a_warning_and_captions_go_on(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", drafts=False)
        rig.upper.failing = 1_000
        messages = await whole(rig, wire)
        assert rig.committed(messages) == rig.text(SAID)
        warnings = [m["text"] for m in messages if m["type"] == "warning"]
        assert 1 <= len(warnings) <= 3  # one for each sentence, of which there are as many as were committed apart
        assert all("translation is down" in text for text in warnings)
        assert messages[-1]["reason"] == "finished"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_translation_that_hangs_skips_the_sentence_with_a_warning(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", drafts=False)
        rig.models.deadline_s = 0.3
        rig.upper.gate.clear()
        sound = rig.packets(np.concatenate([rig.spell([1, 2]), np.zeros(16_000, np.float32), rig.spell([3, 4])]))
        for packet in sound[:20]:
            wire.say(packet)
        messages = await wire.until("warning")
        assert "did not answer within" in messages[-1]["text"]
        rig.upper.gate.set()
        for packet in sound[20:]:
            wire.say(packet)
        wire.say({"type": "finish", "packets": len(sound)})
        messages += await wire.rest()
        assert rig.committed(messages) == rig.text([1, 2, 3, 4])
        assert [m["text"] for m in messages if m["type"] == "translated"] == ["W3 W4."]
        assert messages[-1]["reason"] == "finished"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_voice_that_fails_once_is_not_noticed(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", speak=True, headphones=True, drafts=False)
        rig.beep.failing = 1
        messages = [m for m in await whole(rig, wire) if isinstance(m, dict)]
        spoken = [m["text"] for m in messages if m["type"] == "spoken"]
        assert spoken == [text for text in sentences(rig, messages) for _ in text.split(". ")]  # in three pieces
        assert not [m for m in messages if m["type"] == "warning"]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_voice_that_always_fails_is_a_warning_and_captions_go_on(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", speak=True, headphones=True, drafts=False)
        rig.beep.failing = 1_000
        messages = [m for m in await whole(rig, wire) if isinstance(m, dict)]
        assert rig.committed(messages) == rig.text(SAID)
        warnings = [m["text"] for m in messages if m["type"] == "warning"]
        assert len(warnings) == len(sentences(rig, messages))
        assert all("out of breath" in text for text in warnings)
        assert messages[-1]["reason"] == "finished"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_voice_that_hangs_skips_the_sentence_with_a_warning(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", speak=True, headphones=True, drafts=False)
        rig.models.deadline_s = 0.2
        rig.beep.gate.clear()
        messages = [m for m in await whole(rig, wire) if isinstance(m, dict)]
        assert rig.committed(messages) == rig.text(SAID)
        warnings = [m["text"] for m in messages if m["type"] == "warning"]
        assert len(warnings) == len(sentences(rig, messages))
        assert all("did not answer within" in text for text in warnings)
        assert messages[-1]["reason"] == "finished"
        rig.beep.gate.set()  # and others speak again
        rig.models.deadline_s = 20
        other = rig.wire(app)
        await other.start(to="pt", speak=True, headphones=True, drafts=False)
        messages = [m for m in await whole(rig, other) if isinstance(m, dict)]
        spoken = [m["text"] for m in messages if m["type"] == "spoken"]
        assert spoken == [text for text in sentences(rig, messages) for _ in text.split(". ")]  # in three pieces

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_an_internal_error_ends_its_session_with_a_reason(
    rig: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        session = manager.sessions[started["session"]]

        async def broken(packet: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(session, "hear", broken)
        wire.say(rig.packets(rig.spell([1]))[0])
        messages = await wire.rest()
        assert messages[-1]["code"] == "failed"
        assert wire.closed_with == 4500
        await wire.task
        assert not manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "ZeroDivisionError" in caplog.text


def test_a_server_that_stops_finishes_what_was_said_and_ends_sessions_with_a_reason(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wires = [rig.wire(app) for _ in range(3)]
        heard = {}
        for wire in wires:
            await wire.start(to="pt")
            for packet in rig.packets(rig.spell(SAID)):  # and no finish: somebody is in the middle of it
                wire.say(packet)
            wire.say({"type": "ping"})
            heard[wire] = await wire.until("pong")
        away = wires.pop()
        away.vanish()
        await away.task
        await manager.stop()
        for wire in wires:
            messages = heard[wire] + await wire.rest()
            assert rig.committed(messages) == rig.text(SAID)
            assert messages[-1]["type"] == "ended"
            assert "shutting down" in messages[-1]["reason"]
            await wire.task
        late = rig.wire(app)
        assert (await late.start())["code"] == "busy"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_server_that_stops_does_not_wait_for_ever(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(drain_s=0.05)
        wire = rig.wire(app)
        await wire.start()
        rig.reader.gate.clear()
        for packet in rig.packets(rig.spell(SAID)):
            wire.say(packet)
        wire.say({"type": "ping"})
        await wire.until("pong")
        await manager.stop()
        assert "shutting down" in (await wire.rest())[-1]["reason"]
        assert [task for task in asyncio.all_tasks() if "session" in task.get_name()] == []

    asyncio.run(asyncio.wait_for(talk(), 60))
