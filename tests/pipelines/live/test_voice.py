"""The voice beside the captions: what it says when it falls behind, and what is heard while it plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mmpipe.pipelines.live import (
    CommittedEvent,
    Event,
    InterruptedEvent,
    LiveModels,
    LiveOptions,
    LiveSession,
    SpokenEvent,
    StatsEvent,
    TranslatedEvent,
    WarningEvent,
)
from mmpipe.pipelines.live.voice import AHEAD_S, ECHO_S, Playback, VoiceLane
from mmpipe.types import Audio, Segment

SILENCE = np.zeros(16_000, np.float32)
ONE_WAY = LiveOptions(to="pt", source="en", speak=True, stats_every_s=0.5, draft=False)


def words(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, CommittedEvent))


# --- what a microphone hears of it --------------------------------------------------------------------------------


def test_sound_that_is_sent_is_audible_until_it_was_played_and_its_echo_has_died_away() -> None:
    playback = Playback()
    playback.advance(10.0)
    assert not playback.audible
    playback.add(2.0)
    playback.add(1.0)
    assert playback.left_s == pytest.approx(3.0)
    playback.advance(12.9)
    assert playback.playing
    playback.advance(13.0 + ECHO_S / 2)
    assert not playback.playing
    assert playback.audible
    playback.advance(13.0 + ECHO_S)
    assert not playback.audible


def test_a_player_that_tells_is_believed_until_it_tells_no_more() -> None:
    playback = Playback()
    playback.add(1.0)
    playback.tell(playing=True)
    playback.advance(5.0)
    assert playback.audible  # it is slow
    playback.tell(playing=False)
    assert playback.audible  # the echo
    playback.advance(5.0 + ECHO_S)
    assert not playback.audible
    playback.add(2.0)
    assert not playback.audible  # it has not begun
    playback.tell(None)
    playback.advance(6.0)
    assert playback.audible


def test_on_a_loudspeaker_the_voice_is_not_taken_for_somebody_who_speaks(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    """What comes while the voice plays may be the voice: it is not listened to, and how much is told."""
    sound = np.concatenate([live.spell(range(5)), SILENCE, live.spell(range(10, 14)), SILENCE, live.spell([20, 21])])
    with reading(live.Beep(duration_s=3.0)) as models:
        events = asyncio.run(live.replay(models, ONE_WAY, sound))
    spoken = live.of(SpokenEvent, events)[0]
    quiet_s = spoken.emitted_s + 3.0 + ECHO_S
    assert "w0 w1 w2 w3 w4." in words(events)
    assert "w10" not in words(events)
    assert words(events).endswith("w20 w21")
    assert all(event.end_s <= spoken.emitted_s or event.start_s >= quiet_s for event in live.of(CommittedEvent, events))
    assert live.of(StatsEvent, events)[-1].unheard_s == pytest.approx(3.0 + ECHO_S, abs=0.2)


def test_with_headphones_everything_is_heard_while_the_voice_plays(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    sound = np.concatenate([live.spell(range(5)), SILENCE, live.spell(range(10, 14)), SILENCE])
    options = LiveOptions(to="pt", source="en", speak=True, headphones=True)
    with reading(live.Beep(duration_s=3.0)) as models:
        events = asyncio.run(live.replay(models, options, sound))
    assert words(events) == "w0 w1 w2 w3 w4. w10 w11 w12 w13"
    assert not live.of(InterruptedEvent, events)  # one-way: the speaker always talks over the voice


def test_a_player_that_has_ended_early_opens_the_ears(live: Any, reading: Callable[..., LiveModels]) -> None:
    sound = np.concatenate([live.spell(range(5)), SILENCE, SILENCE, live.spell(range(10, 14)), SILENCE])

    async def tell(session: LiveSession, now_s: float) -> None:
        session.note_playing(False)

    with reading(live.Beep(duration_s=30.0)) as models:
        events = asyncio.run(live.replay(models, ONE_WAY, sound, meanwhile=tell))
    assert words(events) == "w0 w1 w2 w3 w4. w10 w11 w12 w13"


# --- who answers it -----------------------------------------------------------------------------------------------

TALK = LiveOptions(between=("en", "pt"), speak=True, headphones=True, draft=False)


def test_who_answers_the_voice_in_its_language_makes_it_stop(live: Any, reading: Callable[..., LiveModels]) -> None:
    sound = np.concatenate([live.spell(range(15)), SILENCE, live.spell(range(60, 65)), SILENCE])
    with reading(live.Beep(duration_s=4.0)) as models:
        events = asyncio.run(live.replay(models, TALK, sound))
    (interrupted,) = live.of(InterruptedEvent, events)
    assert 8.5 <= interrupted.emitted_s <= 10.0  # soon after the first word of the answer, at 8.5 s
    cut = interrupted.seq
    assert interrupted.dropped >= 2  # of three sentences, four seconds each
    assert {event.text for event in live.of(SpokenEvent, events) if event.seq > cut} == {"W60 W61 W62 W63 W64."}
    assert "w60 w61 w62 w63 w64." in words(events)


def test_who_goes_on_speaking_does_not_stop_the_translation_of_what_was_said(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    sound = np.concatenate([live.spell(range(5)), SILENCE, live.spell(range(5, 10)), SILENCE])
    with reading(live.Beep(duration_s=4.0)) as models:
        events = asyncio.run(live.replay(models, TALK, sound))
    assert not live.of(InterruptedEvent, events)
    assert len(live.of(SpokenEvent, events)) == 2


def test_a_voice_that_may_be_interrupted_in_one_way_is_by_whoever_begins_to_speak(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    sound = np.concatenate([live.spell(range(5)), SILENCE, live.spell(range(5, 10)), SILENCE])
    options = LiveOptions(to="pt", source="en", speak=True, headphones=True, barge_in=True)
    with reading(live.Beep(duration_s=4.0)) as models:
        events = asyncio.run(live.replay(models, options, sound))
    assert len(live.of(InterruptedEvent, events)) == 1


# --- a voice that falls behind ------------------------------------------------------------------------------------


class Lane:
    """A voice lane with the sound it is told to have heard, and what it said."""

    def __init__(self, models: LiveModels, **options: Any) -> None:
        self.said: list[str] = []
        self.warnings: list[str] = []
        self.lane = VoiceLane(
            models,
            LiveOptions(to="pt", speak=True, headphones=True, **options),
            "test",
            lambda saying, audio: self.said.append(saying.text),
            self.warnings.append,
        )
        self.running = asyncio.create_task(self.lane.run())

    def add(self, *texts: str) -> None:
        for text in texts:
            self.lane.add(Segment(0.0, 1.0, text, "en"), text, "pt")

    async def settle(self) -> None:
        async with asyncio.timeout(20):
            while self.lane.busy:
                await asyncio.sleep(0.001)

    async def hear(self, until_s: float) -> None:
        self.lane.advance(until_s)
        await self.settle()

    async def end(self) -> None:
        self.lane.finish()
        self.lane.end()
        await asyncio.wait_for(self.running, 20)


def test_a_voice_that_falls_behind_speaks_faster_step_by_step(live: Any, reading: Callable[..., LiveModels]) -> None:
    beep = live.Beep(duration_s=2.5)

    async def talk() -> None:
        with reading(beep) as models:
            lane = Lane(models, speed=1.1)
            for text in ("um", "dois", "tres", "quatro"):
                lane.add(text)
                await lane.settle()
            await lane.hear(30.0)  # all is played
            lane.add("cinco")
            await lane.end()
            assert lane.lane.dropped == 0

    asyncio.run(talk())
    assert [request.speed for request in beep.asked] == pytest.approx([1.1, 1.21, 1.21, 1.32, 1.1])


def test_a_player_is_not_sent_more_than_some_seconds_ahead(live: Any, reading: Callable[..., LiveModels]) -> None:
    async def talk() -> None:
        with reading(live.Beep(duration_s=AHEAD_S / 2 + 0.5)) as models:
            lane = Lane(models)
            lane.add("um", "dois", "tres")
            await lane.settle()
            assert lane.said == ["um", "dois"]  # the third waits, and the session counts as idle meanwhile
            await lane.hear(2.0)
            assert lane.said == ["um", "dois", "tres"]
            await lane.end()

    asyncio.run(talk())


def test_a_voice_that_cannot_catch_up_leaves_out_the_oldest_and_counts_it(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    async def talk() -> None:
        with reading(live.Beep(duration_s=10.0)) as models:
            lane = Lane(models, max_behind_s=12.0)
            lane.add("um")
            await lane.settle()
            long = "uma frase que por si só leva mais ou menos cinco segundos a dizer em voz alta, sem pressa"
            lane.add("dois " + long, "tres " + long, "quatro " + long)
            await lane.hear(2.0)  # 8 s are left to play, and 15 s wait
            assert lane.lane.dropped == 2
            assert list(dict.fromkeys(text.split()[0] for text in lane.said)) == ["um", "quatro"]
            await lane.end()

    asyncio.run(talk())


def test_at_the_end_everything_that_waits_is_spoken(live: Any, reading: Callable[..., LiveModels]) -> None:
    async def talk() -> None:
        with reading(live.Beep(duration_s=20.0)) as models:
            lane = Lane(models)
            lane.add(*"abcdef")
            await lane.end()
            assert lane.said == list("abcdef")
            assert lane.lane.dropped == 0

    asyncio.run(talk())


def test_a_sentence_that_is_being_made_is_not_heard_after_an_interruption(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    beep = live.Beep(duration_s=2.0)

    async def talk() -> None:
        with reading(beep) as models:
            lane = Lane(models)
            beep.gate.clear()
            lane.add("um", "dois")
            while not lane.lane.busy or lane.lane.waiting == 2:
                await asyncio.sleep(0.001)
            assert lane.lane.interrupt() == 2
            beep.gate.set()
            await lane.settle()
            lane.add("tres")
            await lane.end()
            assert lane.said == ["tres"]
            assert lane.lane.dropped == 2

    asyncio.run(talk())


# --- a voice that fails -------------------------------------------------------------------------------------------


def test_a_voice_that_fails_once_is_not_noticed(live: Any, reading: Callable[..., LiveModels]) -> None:
    beep = live.Beep()
    beep.failing = 1

    async def talk() -> None:
        with reading(beep) as models:
            lane = Lane(models)
            lane.add("um", "dois")
            await lane.end()
            assert lane.said == ["um", "dois"]
            assert not lane.warnings

    asyncio.run(talk())


def test_a_voice_that_always_fails_is_a_warning_for_each_sentence(
    live: Any, reading: Callable[..., LiveModels], caplog: pytest.LogCaptureFixture
) -> None:
    beep = live.Beep()
    beep.failing = 4
    sound = np.concatenate([live.spell(range(15)), SILENCE])
    with reading(beep) as models:
        events = asyncio.run(live.replay(models, ONE_WAY, sound))
    assert len(live.of(WarningEvent, events)) == 2
    assert "out of breath" in live.of(WarningEvent, events)[0].text
    assert len([event for event in live.of(TranslatedEvent, events) if event.final]) == 3  # captions go on
    assert len(live.of(SpokenEvent, events)) == 1
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2  # each logged once


def test_a_voice_that_hangs_is_a_warning_and_holds_up_nothing_else(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    beep = live.Beep()
    beep.gate.clear()

    async def talk() -> None:
        with reading(beep, deadline_s=0.05) as models:
            lane = Lane(models)
            lane.add("um")
            await lane.settle()
            assert "did not answer within 0.05 seconds" in lane.warnings[0]
            sentence = "Bom dia."
            assert (await models.in_thread(models.translator.translate, sentence, "pt", "en")).text == "BOM DIA."
            beep.gate.set()
            models.deadline_s = 20
            lane.add("dois")
            await lane.end()
            assert lane.said == ["dois"]

    asyncio.run(talk())


def test_audio_is_what_the_engine_gave(live: Any, reading: Callable[..., LiveModels]) -> None:
    with reading(live.Beep(duration_s=0.5)) as models:
        events = asyncio.run(live.replay(models, ONE_WAY, np.concatenate([live.spell(range(5)), SILENCE])))
    (spoken,) = live.of(SpokenEvent, events)
    assert isinstance(spoken.audio, Audio)
    assert spoken.audio.duration_s == pytest.approx(0.5, abs=0.01)
    assert (spoken.start_s, spoken.text) == (pytest.approx(0.0, abs=0.05), "W0 W1 W2 W3 W4.")
