"""Live sessions on a clock of their own: sound is the only time that passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.pipelines.live import (
    Committed,
    Ended,
    Event,
    LiveModels,
    LiveOptions,
    LiveSession,
    Partial,
    Spoken,
    Translated,
    Warned,
)
from mmpipe.stage import Recogniser, Synthesiser, Translator
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment, Sentence, SpeechRequest, SpeechWindow, Tier

BLOCK = SPEECH_RATE_HZ // 10


class Upper(Translator):
    name = "upper"
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD, ("pt", "en"): Tier.GOOD}
    failing = 0

    def run(self, items: Sequence[Sentence]) -> list[str]:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("translation is down")
        return [item.text.upper() for item in items]


class Beep(Synthesiser):
    name = "beep"
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",), "en": ("beep",)}

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        return [Audio(np.full(2400, 0.1, np.float32), self.rate_hz) for _ in items]


class Broken(Recogniser):
    languages = frozenset({"en"})

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        raise RuntimeError("out of order")


class SoundClock:
    """A clock that stands still until it is told how much sound there was."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def wait(self, condition: object, timeout_s: float | None) -> None:
        raise AssertionError("a session does not wait on its clock")


async def replay(
    models: LiveModels,
    options: LiveOptions,
    sound: np.ndarray,
    *,
    meanwhile: Callable[[LiveSession, float], Awaitable[None]] | None = None,
) -> list[Event]:
    """Every event of a session that hears ``sound``, each block worked off before the next one comes."""
    clock = SoundClock()
    session = LiveSession(models, options, clock)
    events: list[Event] = []

    async def read() -> None:
        events.extend([event async for event in session.events()])

    reading = asyncio.create_task(read())
    for at in range(0, len(sound), BLOCK):
        clock.time_s += len(sound[at : at + BLOCK]) / SPEECH_RATE_HZ
        session.push(sound[at : at + BLOCK])
        await asyncio.sleep(0)
        while not (session.idle or reading.done()):
            await asyncio.sleep(0.001)
        if meanwhile:
            await meanwhile(session, clock.time_s)
    session.finish()
    await asyncio.wait_for(reading, 60)
    return events


@pytest.fixture(scope="module")
def talk(librivox: list[Clip]) -> np.ndarray:
    pause = np.zeros(16_000, np.float32)
    return np.concatenate([part for clip in librivox for part in (media.load(clip.path).samples, pause)])


@pytest.fixture(scope="module")
def events(whisper: Whisper, talk: np.ndarray) -> list[Event]:
    """One real session, looked at by several tests."""
    with LiveModels(whisper, translators=[Upper()], synthesisers=[Beep()]) as models:
        return asyncio.run(replay(models, LiveOptions(to="pt", source="en", speak=True, headphones=True), talk))


def of(kind: type[Event], events: list[Event]) -> list:  # type: ignore[type-arg]
    return [event for event in events if isinstance(event, kind)]


def test_what_is_committed_is_what_was_said(events: list[Event], librivox: list[Clip]) -> None:
    text = " ".join(event.text for event in of(Committed, events))
    assert word_error_rate([" ".join(clip.text for clip in librivox)], [text], "en") <= 0.05


def test_words_are_committed_soon_after_they_were_said(events: list[Event]) -> None:
    delays_s = [event.emitted_s - word.end_s for event in of(Committed, events) for word in event.words]
    assert np.median(delays_s) <= 1.7  # of sound: computing takes no time on this clock
    assert max(delays_s) <= 2.5


def test_a_caption_appears_within_a_second_of_the_first_sound(events: list[Event], talk: np.ndarray) -> None:
    first = of(Partial, events)[0]
    assert first.emitted_s <= 1.1


def test_nothing_is_committed_twice_or_out_of_order(events: list[Event]) -> None:
    words = [word for event in of(Committed, events) for word in event.words]
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    emitted = [event.emitted_s for event in events]
    assert emitted == sorted(emitted)


def test_whole_sentences_are_translated_and_spoken_in_order(events: list[Event]) -> None:
    final = [event for event in of(Translated, events) if event.final]
    assert [event.text for event in final] == [event.source_text.upper() for event in final]
    committed = " ".join(event.text for event in of(Committed, events))
    assert " ".join(event.source_text for event in final) == committed
    # a sentence is spoken in one piece or more
    assert list(dict.fromkeys(event.text for event in of(Spoken, events))) == [event.text for event in final]


def test_what_is_being_said_has_a_draft_translation(events: list[Event]) -> None:
    drafts = [event for event in of(Translated, events) if not event.final]
    assert len(drafts) > 5


def test_the_last_event_says_how_it_ended(events: list[Event]) -> None:
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "finished"
    assert not of(Warned, events)


def test_every_event_becomes_json(events: list[Event]) -> None:
    import json

    for event in events:
        document = json.loads(json.dumps(event.as_dict()))
        assert {"type", "seq", "emitted_s"} <= set(document)


def test_silence_and_noise_commit_nothing(whisper: Whisper) -> None:
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(16_000 * 20)).astype(np.float32)
    sound = np.concatenate([np.zeros(16_000 * 20, np.float32), noise])
    with LiveModels(whisper, translators=[Upper()], synthesisers=[Beep()]) as models:
        events = asyncio.run(replay(models, LiveOptions(source="en"), sound))
    assert not of(Committed, events)


def test_a_failed_translation_is_a_warning_and_captions_go_on(whisper: Whisper, talk: np.ndarray) -> None:
    upper = Upper()
    upper.failing = 4  # each sentence is tried twice
    with LiveModels(whisper, translators=[upper], synthesisers=[Beep()]) as models:
        events = asyncio.run(replay(models, LiveOptions(to="pt", source="en", draft=False), talk[: 16_000 * 16]))
    assert len(of(Warned, events)) == 2
    assert of(Committed, events)
    assert events[-1].reason == "finished"  # type: ignore[attr-defined]


def test_a_broken_recogniser_ends_its_session_with_the_reason(talk: np.ndarray) -> None:
    with LiveModels(Broken(), translators=[Upper()], synthesisers=[Beep()]) as models:
        events = asyncio.run(replay(models, LiveOptions(source="en"), talk[: 16_000 * 3]))
    assert isinstance(events[-1], Ended)
    assert "out of order" in events[-1].reason


def test_closing_early_ends_the_session_and_keeps_what_was_committed(whisper: Whisper, talk: np.ndarray) -> None:
    async def stop(session: LiveSession, now_s: float) -> None:
        if abs(now_s - 6.0) < 0.05:
            await session.close("the server stops")

    with LiveModels(whisper, translators=[Upper()], synthesisers=[Beep()]) as models:
        events = asyncio.run(replay(models, LiveOptions(source="en"), talk[: 16_000 * 6], meanwhile=stop))
    assert of(Committed, events)
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "the server stops"
