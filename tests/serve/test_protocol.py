"""The conversation on one connection: what is said, what is answered, what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mmpipe.serve.wire import Packet, from_pcm16
from mmpipe.types import Segment, SpeechWindow

SAID = list(range(12))


def test_a_session_from_start_to_end(rig: Any) -> None:
    async def talk() -> None:
        app, _manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, headphones=True)
        assert started["type"] == "started"
        assert started["next_packet"] == 0
        for packet in rig.packets(rig.spell(SAID)):
            wire.say(packet)
        wire.say({"type": "finish", "packets": 60})
        messages = await wire.rest()
        assert wire.closed_with == 1000
        events = [m for m in messages if isinstance(m, dict) and "seq" in m]
        assert rig.committed(events) == rig.text(SAID)
        translated = [m["text"] for m in events if m["type"] == "translated" and m["final"]]
        assert " ".join(translated) == rig.text(SAID).upper()
        seqs = [m["seq"] for m in events]
        assert seqs == sorted(set(seqs))
        assert events[-1]["type"] == "ended"
        assert events[-1]["reason"] == "finished"
        assert [m["next_packet"] for m in messages if isinstance(m, dict) and m["type"] == "ack"][-1] == 60
        _check_sound(messages)

    asyncio.run(asyncio.wait_for(talk(), 60))


def _check_sound(messages: list[Any]) -> None:
    """The sound of a ``spoken`` event follows it, whole, and says which event it belongs to."""
    announced = [n for n, m in enumerate(messages) if isinstance(m, dict) and m["type"] == "spoken"]
    assert announced
    for at in announced:
        event, length = messages[at], 0
        while length < event["samples"]:
            at += 1
            packet = Packet.unpack(messages[at])
            assert (packet.seq, packet.position) == (event["seq"], length)
            length += len(from_pcm16(packet.payload))
        assert length == event["samples"]
        assert length / event["rate_hz"] == pytest.approx(event["duration_s"], abs=0.001)


def test_what_is_not_wanted_is_not_sent(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(to="pt", partials=False, drafts=False, stats=False)
        for packet in rig.packets(rig.spell(SAID)):
            wire.say(packet)
            await asyncio.sleep(0)
        wire.say({"type": "finish", "packets": 60})
        kinds = {m["type"] for m in await wire.rest()}
        assert kinds == {"committed", "translated", "ended", "ack"}

    asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("{", "Invalid JSON"),
        ("[]", "object"),
        ('{"type": "begin"}', "start"),
        ('{"type": "start", "langauge": "en"}', "langauge"),
        ('{"type": "start", "rate_hz": "fast"}', "rate_hz"),
        ('{"type": "start", "rate_hz": 4000}', "rate_hz"),
        ('{"type": "start", "speak": true}', "'to'"),
        ('{"type": "start", "to": "xx"}', "xx"),
        ('{"type": "start", "to": "fi", "source": "en"}', "Finnish"),
        ('{"type": "start", "source": "qq"}', "qq"),
        ('{"type": "start", "between": ["en", "English"]}', "two languages"),
        ('{"type": "start", "source": "de"}', "de"),
        ('{"type": "start", "to": "pt", "speak": true, "voice": "nobody"}', "nobody"),
        ('{"type": "start", "format": "opus", "rate_hz": 16000}', "48000"),
        ('{"type": "start", "api_key": ["secret-of-mine"]}', "api_key"),
        (b"\0" * 100, "first message"),
    ],
)
def test_a_wrong_start_gets_one_clear_error(rig: Any, message: Any, says: str) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        wire.say(message)
        (error,) = await wire.rest()
        assert error["type"] == "error"
        assert error["code"] == "bad_message"
        assert says in error["text"]
        assert "secret-of-mine" not in error["text"]
        assert wire.closed_with == 4400
        assert not manager.sessions

    asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{}", 4400),
        ('{"type": "start"}', 4400),
        ('{"type": "finish"}', 4400),
        ('{"type": "ping", "extra": 1}', 4400),
        (b"1234567", 4400),
        (b"\0" * 8, 4400),
        (b"\0" * 11, 4400),  # half a sample
        (b"\xff" * 8 + b"\0\0", 4400),  # an absurd number
        (b"\0" * 65_537, 1009),
        (json.dumps({"type": "ping", "extra": "x" * 65_537}), 1009),
    ],
)
def test_a_wrong_message_ends_its_session_and_no_other(rig: Any, message: Any, code: int) -> None:
    async def talk() -> None:
        app, _manager = rig.app()
        good, bad = rig.wire(app), rig.wire(app)
        await good.start()
        await bad.start()
        sound = rig.packets(rig.spell(SAID))
        for packet in sound[:30]:
            good.say(packet)
        bad.say(message)
        assert (await bad.rest())[-1]["type"] == "error"
        assert bad.closed_with == code
        for packet in sound[30:]:
            good.say(packet)
        good.say({"type": "finish", "packets": len(sound)})
        assert rig.committed(await good.rest()) == rig.text(SAID)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_keys_are_asked_for_and_never_logged(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def attempt(headers: dict[str, str], **fields: Any) -> Any:
        app, _ = rig.app(api_keys=frozenset({"open-sesame", "another"}))
        wire = rig.wire(app, headers)
        answer = await wire.start(**fields)
        wire.vanish(1000)
        await wire.task
        return answer or wire.denied_with

    async def talk() -> None:
        assert (await attempt({}))["code"] == "unauthorised"
        assert (await attempt({}, api_key="open-sesam"))["code"] == "unauthorised"
        assert (await attempt({}, api_key="open-sesame"))["type"] == "started"
        assert (await attempt({"Authorization": "Bearer another"}))["type"] == "started"
        assert await attempt({"Authorization": "Bearer other"}) == 401

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "sesam" not in caplog.text


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://localhost:3000", True),
        ("https://captions.example", True),
        ("https://evil.example", False),
        ("https://localhost.evil.example", False),
        ("null", False),
        ("http://[", False),  # of which urllib says that it is no address
    ],
)
def test_pages_of_strangers_may_not_connect(rig: Any, origin: str | None, welcome: bool) -> None:
    async def talk() -> None:
        app, _ = rig.app(allowed_origins=("https://captions.example",))
        wire = rig.wire(app, {"Origin": origin} if origin else {})
        if welcome:
            assert (await wire.start())["type"] == "started"
            wire.vanish(1000)
        else:
            assert await wire.hear() is None
            assert wire.denied_with == 403
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.mark.parametrize("english", ["EN", "en-US", "en_GB", "English", "eng"])
def test_a_language_may_be_called_by_any_of_its_names(rig: Any, english: str) -> None:
    asked = []
    read = rig.reader.run

    def run(items: Sequence[SpeechWindow]) -> list[Segment]:
        asked.extend(item.options.language for item in items)
        return cast(list[Segment], read(items))

    rig.reader.run = run

    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start(source=english, to="pt-BR")
        for packet in rig.packets(rig.spell(SAID)):
            wire.say(packet)
        wire.say({"type": "finish", "packets": 60})
        messages = [message for message in await wire.rest() if isinstance(message, dict)]
        assert rig.committed(messages) == rig.text(SAID)
        assert {m["language"] for m in messages if m["type"] == "translated" and m["final"]} == {"pt"}

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert set(asked) == {"en"}


def test_a_ping_is_answered(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        await wire.start()
        wire.say({"type": "ping"})
        assert await wire.hear() == {"type": "pong"}
        wire.vanish(1000)
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_health_readiness_and_metrics(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(warmup=(("en", "pt"),))
        manager.unready = "models are being warmed up"
        rig.reader.gate.clear()
        assert (await rig.get(app, "/health"))[0] == 200
        async with app.router.lifespan_context(app):
            assert (await rig.get(app, "/ready"))[0] == 503
            wire = rig.wire(app)
            assert (await wire.start())["code"] == "busy"
            rig.reader.gate.set()
            async with asyncio.timeout(10):
                while (await rig.get(app, "/ready"))[0] != 200:
                    await asyncio.sleep(0.01)
            wire = rig.wire(app)
            await wire.start()
            for packet in rig.packets(rig.spell(SAID)):
                wire.say(packet)
            wire.say({"type": "finish", "packets": 60})
            await wire.rest()
            status, text = await rig.get(app, "/metrics")
        assert status == 200
        figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert figures["mmpipe_sessions_started_total"] == "1.0"
        assert figures['mmpipe_sessions_ended_total{cause="finished"}'] == "1.0"
        assert figures['mmpipe_packets_total{status="received"}'] == "60.0"
        assert float(figures["mmpipe_heard_seconds_total"]) == pytest.approx(6.0)
        assert float(figures['mmpipe_stage_items_total{stage="reader"}']) > 1
        assert figures['mmpipe_connections_closed_total{code="busy"}'] == "1.0"
        assert (await rig.get(app, "/ready"))[0] == 503  # it is over

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_failing_warm_up_is_told(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        rig.reader.failing = 10
        await manager.warmup()
        status, text = await rig.get(app, "/ready")
        assert status == 503
        assert "out of order" in text

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "does not become ready" in caplog.text


def test_a_warm_up_that_fails_in_a_library_is_told(
    rig: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Unable to open file 'model.bin'")

    monkeypatch.setattr(rig.models.translator, "translate", fail)

    async def talk() -> None:
        app, manager = rig.app(warmup=(("en", "pt"),))
        await manager.warmup()
        status, text = await rig.get(app, "/ready")
        assert status == 503
        assert "warm-up failed" in text

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "model.bin" in caplog.text


def test_transcripts_outlast_the_session(rig: Any, tmp_path: Path) -> None:
    async def talk() -> str:
        app, _ = rig.app(transcripts=tmp_path)
        wire = rig.wire(app)
        started = await wire.start(to="pt")
        for packet in rig.packets(rig.spell(SAID)):
            wire.say(packet)
        wire.say({"type": "finish", "packets": 60})
        await wire.rest()
        return str(started["session"])

    session = asyncio.run(asyncio.wait_for(talk(), 60))
    (path,) = tmp_path.glob(f"*-{session}.jsonl")
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert head["session"] == session
    assert rig.committed(lines) == rig.text(SAID)
    assert {line["type"] for line in lines} == {"committed", "translated"}


def test_sound_at_other_rates_is_resampled(rig: Any) -> None:
    """The reader finds levels only, so the words are as they were."""

    async def talk() -> None:
        app, _manager = rig.app()
        wire = rig.wire(app)
        await wire.start(rate_hz=48_000)
        sound = np.repeat(rig.spell(SAID), 3)
        size = 4801  # nothing fits
        for n, at in enumerate(range(0, len(sound), size)):
            payload = (sound[at : at + size] * 32768).astype("<i2").tobytes()
            wire.say(Packet(n, at, payload).pack())
        wire.say({"type": "finish", "packets": n + 1})
        assert rig.committed(await wire.rest()) == rig.text(SAID)

    asyncio.run(asyncio.wait_for(talk(), 60))
