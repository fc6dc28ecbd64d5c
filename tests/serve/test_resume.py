"""Clients that vanish and come back, packets that do not come as they were sent, clients that do not read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

SAID = list(range(30))


def seqs(messages: list[Any]) -> list[int]:
    return [m["seq"] for m in messages if isinstance(m, dict) and "seq" in m]


def test_a_client_that_vanishes_in_a_word_resumes_with_nothing_lost_or_repeated(rig: Any, settle: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        sound = rig.packets(rig.spell(SAID))
        wire = rig.wire(app)
        started = await wire.start(to="pt")
        heard: list[Any] = []
        chance = random.Random(7)
        place = 0
        for cut in (33, 52, 118):  # in the middle of words
            session = manager.sessions[started["session"]]
            for packet in sound[place : session.next_packet]:
                wire.say(packet)
            await rig.speak(session, [wire], sound[session.next_packet : cut])
            heard += await wire.until("committed")
            wire.vanish()
            await wire.task
            wire = rig.wire(app)
            started = await wire.resume(started, max(seqs(heard)))
            assert started["type"] == "started"
            # the client does not know how much arrived, and sends rather too much again
            place = max(0, started["next_packet"] - chance.randrange(5))
        for packet in sound[place:]:
            wire.say(packet)
        wire.say({"type": "finish", "packets": len(sound)})
        heard += await wire.rest()
        assert rig.committed(heard) == rig.text(SAID)
        final = [m["text"] for m in heard if isinstance(m, dict) and m["type"] == "translated" and m["final"]]
        assert " ".join(final) == rig.text(SAID).upper()
        assert len(seqs(heard)) == len(set(seqs(heard)))

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_events_that_were_lost_on_the_way_are_sent_again(rig: Any, settle: Any) -> None:
    """All events of the first connection are lost: the client says that it has received none."""

    async def talk() -> None:
        app, _manager = rig.app()
        sound = rig.packets(rig.spell(SAID))
        first = rig.wire(app)
        started = await first.start(to="pt", speak=True, headphones=True)
        for packet in sound:
            first.say(packet)
        first.say({"type": "finish", "packets": len(sound)})
        await first.rest()  # to the end: even that may be lost
        second = rig.wire(app)
        await second.resume(started, 0)
        messages = await second.rest()
        assert rig.committed(messages) == rig.text(SAID)
        assert messages[-1]["type"] == "ended"
        spoken = [m for m in messages if isinstance(m, dict) and m["type"] == "spoken"]
        chunks = [m for m in messages if isinstance(m, bytes)]
        assert sum(len(chunk) - 8 for chunk in chunks) == 2 * sum(m["samples"] for m in spoken)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_packets_late_duplicated_and_out_of_order_make_no_difference(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        sound = rig.packets(rig.spell(SAID))
        chance = random.Random(3)
        order = sorted([*range(150), *range(0, 150, 4)], key=lambda n: n + chance.uniform(0, 20))
        wire = rig.wire(app)
        await wire.start()
        for n in order:
            wire.say(sound[n])
        wire.say({"type": "finish", "packets": len(sound)})
        assert rig.committed(await wire.rest()) == rig.text(SAID)
        figures = (await rig.get(app, "/metrics"))[1]
        assert 'mmpipe_packets_total{status="repeated"} 38.0' in figures
        assert 'mmpipe_packets_total{status="lost"} 0.0' in figures

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_lost_packets_are_silence_and_times_stay_true(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        sound = rig.packets(rig.spell(SAID))
        wire = rig.wire(app)
        await wire.start()
        for n, packet in enumerate(sound):
            if not 50 <= n < 55:  # the eleventh word
                wire.say(packet)
        wire.say({"type": "finish", "packets": len(sound)})
        messages = await wire.rest()
        assert rig.committed(messages) == rig.text([n for n in SAID if n != 10])
        words = [word for m in messages if m["type"] == "committed" for word in m["words"]]
        assert words[10]["start_s"] == pytest.approx(11 * 0.5, abs=0.01)
        assert 'mmpipe_packets_total{status="lost"} 5.0' in (await rig.get(app, "/metrics"))[1]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_the_new_connection_takes_over_from_one_that_is_dead_without_knowing(rig: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        old, new = rig.wire(app), rig.wire(app)
        started = await old.start()
        assert (await new.resume(started, 0))["type"] == "started"
        assert [m["code"] for m in await old.rest()] == ["replaced"]
        assert old.closed_with == 4409
        new.say({"type": "ping"})
        assert await new.hear() == {"type": "pong"}
        assert len(manager.sessions) == 1
        new.vanish(1000)
        await new.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_session_is_given_to_nobody_else(rig: Any) -> None:
    async def talk() -> None:
        app, _ = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        for forged in ({**started, "token": "guess"}, {**started, "session": "00000000"}):
            thief = rig.wire(app)
            assert (await thief.resume(forged, 0))["code"] == "unknown_session"
            assert await thief.hear() is None
            assert thief.closed_with == 4404
        early = rig.wire(app)
        assert (await early.resume(started, 999))["code"] == "bad_message"
        wire.vanish(1000)
        await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_what_is_not_kept_any_more_is_said_and_not_skipped(rig: Any, settle: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app(replay_bytes=200_000, max_unsent_bytes=150_000)
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, headphones=True)
        sound = rig.packets(rig.spell(SAID))  # six sentences of 96 kB of sound each
        await rig.speak(manager.sessions[started["session"]], [wire], sound)
        wire.vanish()
        await wire.task
        late = rig.wire(app)
        assert (await late.resume(started, 0))["code"] == "gone"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_what_was_acknowledged_is_said_to_be_gone_to_a_client_that_has_forgotten_it(rig: Any, settle: Any) -> None:
    async def talk() -> None:
        app, manager = rig.app()
        wire = rig.wire(app)
        started = await wire.start()
        session = manager.sessions[started["session"]]
        await rig.speak(session, [wire], rig.packets(rig.spell(SAID))[:100])
        seen = seqs(await wire.until("committed"))
        wire.say({"type": "ack", "event": seen[-1]})
        await settle(lambda: session.log.forgotten_seq == seen[-1])
        wire.vanish()
        await wire.task
        late = rig.wire(app)
        assert (await late.resume(started, 0))["code"] == "gone"
        right = rig.wire(app)
        assert (await right.resume(started, seen[-1]))["type"] == "started"
        right.vanish(1000)
        await right.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_never_acknowledges_may_come_back_too(rig: Any, settle: Callable[..., Any]) -> None:
    """Its log is full of what it has received: that gives way to what is said while it is away."""

    async def talk() -> None:
        app, manager = rig.app(replay_bytes=200_000, max_unsent_bytes=150_000)
        sound = rig.packets(rig.spell(SAID))
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, headphones=True)
        session = manager.sessions[started["session"]]
        await rig.speak(session, [wire], sound[:100])  # four sentences of 96 kB of sound each
        await settle(lambda: session.listener.sent_seq == session.log.last_seq)
        last = session.log.last_seq
        for packet in sound[100:125]:  # another, just before the network goes
            wire.say(packet)
        wire.vanish()
        await settle(lambda: session.next_packet == 125 and not session.connected and session._live.idle)
        assert session.log.last_seq > last
        assert not session.ending
        again = rig.wire(app)
        assert (await again.resume(started, last))["type"] == "started"
        for packet in sound[125:]:
            again.say(packet)
        again.say({"type": "finish", "packets": len(sound)})
        messages = await again.rest()
        assert [m["reason"] for m in messages if isinstance(m, dict) and m["type"] == "ended"] == ["finished"]

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_client_that_does_not_read_is_disconnected_and_can_resume(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        app, manager = rig.app(max_unsent_bytes=250_000, close_timeout_s=0.05, max_messages_per_s=1_000)
        other, slow = rig.wire(app), rig.wire(app)
        await other.start()
        started = await slow.start(to="pt", speak=True, headphones=True)
        slow.reading.clear()
        sound = rig.packets(rig.spell(SAID))
        await rig.speak(manager.sessions[started["session"]], [other, slow], sound[:100])
        await asyncio.wait_for(slow.task, 10)  # the server has given up on it
        session = manager.sessions[started["session"]]
        assert not session.ended
        assert session.log.replaced > 0  # partials thinned out first
        assert 'mmpipe_connections_closed_total{code="slow"} 1.0' in (await rig.get(app, "/metrics"))[1]

        again = rig.wire(app)
        started = await again.resume(started, 0)
        for packet in sound[started["next_packet"] :]:
            again.say(packet)
        again.say({"type": "finish", "packets": len(sound)})
        assert rig.committed(await again.rest()) == rig.text(SAID)

        for packet in sound:  # what it has is dropped as repeated
            other.say(packet)
        other.say({"type": "finish", "packets": len(sound)})
        assert rig.committed(await other.rest()) == rig.text(SAID)

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_events_that_nobody_fetches_end_the_session_before_memory_does(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        app, manager = rig.app(replay_bytes=300_000, max_unsent_bytes=299_999, close_timeout_s=0.05)
        wire = rig.wire(app)
        started = await wire.start(to="pt", speak=True, headphones=True)
        session = manager.sessions[started["session"]]
        wire.reading.clear()  # sound goes on coming, but nobody reads
        await rig.speak(session, [wire], rig.packets(rig.spell(SAID)))
        await settle(lambda: session.ended)
        assert session.log.size_bytes < 500_000
        back = rig.wire(app)
        await back.resume(started, 0)
        assert "not fetched" in (await back.until("ended"))[-1]["reason"]

    asyncio.run(asyncio.wait_for(talk(), 60))
