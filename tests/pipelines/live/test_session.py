"""Live sessions on a clock of their own: sound is the only time that passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.pipelines.live import (
    CommittedEvent,
    EndedEvent,
    Event,
    LiveModels,
    LiveOptions,
    LiveSession,
    PartialEvent,
    SpokenEvent,
    TranslatedEvent,
    WarningEvent,
)
from mmpipe.stage import Recognizer
from mmpipe.types import Segment, SpeechWindow


class Broken(Recognizer):
    languages = frozenset({"en"})

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        raise RuntimeError("out of order")


@pytest.fixture(scope="module")
def talk(librivox: list[Clip]) -> np.ndarray:
    pause = np.zeros(16_000, np.float32)
    return np.concatenate([part for clip in librivox for part in (media.load(clip.path).samples, pause)])


@pytest.fixture(scope="module")
def events(live: Any, whisper: Whisper, talk: np.ndarray) -> list[Event]:
    """One real session, looked at by several tests."""
    with live.models(whisper) as models:
        return asyncio.run(live.replay(models, LiveOptions(to="pt", source="en", speak=True, headphones=True), talk))


def test_what_is_committed_is_what_was_said(live: Any, events: list[Event], librivox: list[Clip]) -> None:
    text = " ".join(event.text for event in live.of(CommittedEvent, events))
    assert word_error_rate([" ".join(clip.text for clip in librivox)], [text], "en") <= 0.05


def test_words_are_committed_soon_after_they_were_said(live: Any, events: list[Event]) -> None:
    delays_s = [event.emitted_s - word.end_s for event in live.of(CommittedEvent, events) for word in event.words]
    assert np.median(delays_s) <= 1.7  # of sound: computing takes no time on this clock
    assert max(delays_s) <= 2.5


def test_a_caption_appears_within_a_second_of_the_first_sound(live: Any, events: list[Event], talk: np.ndarray) -> None:
    first = live.of(PartialEvent, events)[0]
    assert first.emitted_s <= 1.1


def test_nothing_is_committed_twice_or_out_of_order(live: Any, events: list[Event]) -> None:
    words = [word for event in live.of(CommittedEvent, events) for word in event.words]
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    emitted = [event.emitted_s for event in events]
    assert emitted == sorted(emitted)


def test_whole_sentences_are_translated_and_spoken_in_order(live: Any, events: list[Event]) -> None:
    final = [event for event in live.of(TranslatedEvent, events) if event.final]
    assert [event.text for event in final] == [event.source_text.upper() for event in final]
    committed = " ".join(event.text for event in live.of(CommittedEvent, events))
    assert " ".join(event.source_text for event in final) == committed
    # a sentence is spoken in one piece or more
    assert list(dict.fromkeys(event.text for event in live.of(SpokenEvent, events))) == [event.text for event in final]


def test_what_is_being_said_has_a_draft_translation(live: Any, events: list[Event]) -> None:
    drafts = [event for event in live.of(TranslatedEvent, events) if not event.final]
    assert len(drafts) > 5


def test_the_last_event_says_how_it_ended(live: Any, events: list[Event]) -> None:
    assert isinstance(events[-1], EndedEvent)
    assert events[-1].reason == "finished"
    assert not live.of(WarningEvent, events)


def test_every_event_becomes_json(events: list[Event]) -> None:
    import json

    for event in events:
        document = json.loads(json.dumps(event.as_dict()))
        assert {"type", "seq", "emitted_s"} <= set(document)


def test_silence_and_noise_commit_nothing(live: Any, whisper: Whisper) -> None:
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(16_000 * 20)).astype(np.float32)
    sound = np.concatenate([np.zeros(16_000 * 20, np.float32), noise])
    with live.models(whisper) as models:
        events = asyncio.run(live.replay(models, LiveOptions(source="en"), sound))
    assert not live.of(CommittedEvent, events)


def test_a_failed_translation_is_a_warning_and_captions_go_on(live: Any, whisper: Whisper, talk: np.ndarray) -> None:
    upper = live.Upper()
    upper.failing = 4  # each sentence is tried twice
    with live.models(whisper, upper) as models:
        events = asyncio.run(live.replay(models, LiveOptions(to="pt", source="en", draft=False), talk[: 16_000 * 16]))
    assert len(live.of(WarningEvent, events)) == 2
    assert live.of(CommittedEvent, events)
    assert events[-1].reason == "finished"  # type: ignore[attr-defined]


def test_a_language_that_nothing_translates_is_a_warning_and_only_one(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    with reading() as models:
        events = asyncio.run(live.replay(models, LiveOptions(to="cy", source="en"), live.spell(range(30))))
    (warning,) = live.of(WarningEvent, events)
    assert "Welsh" in warning.text
    assert sum(len(event.words) for event in live.of(CommittedEvent, events)) == 30


def test_a_recognizer_without_words_is_a_warning_that_says_what_to_do(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    with reading() as models:
        read = models.recognizer.run
        models.recognizer.run = lambda items: [replace(found, words=()) for found in read(items)]  # type: ignore[method-assign]
        events = asyncio.run(live.replay(models, LiveOptions(source="en"), live.spell(range(10))))
    (warning,) = live.of(WarningEvent, events)
    assert "Segment.words" in warning.text
    assert "docs/engines.md" in warning.text


def test_a_broken_recognizer_ends_its_session_with_the_reason(live: Any, talk: np.ndarray) -> None:
    with live.models(Broken()) as models:
        events = asyncio.run(live.replay(models, LiveOptions(source="en"), talk[: 16_000 * 3]))
    assert isinstance(events[-1], EndedEvent)
    assert "out of order" in events[-1].reason


def test_a_minute_of_speech_that_comes_at_once_is_committed_and_translated_whole(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    def with_capitals(segment: Segment) -> Segment:
        words = tuple(replace(word, text=word.text.upper()) for word in segment.words)
        return replace(segment, text=segment.text.upper(), words=words)

    async def talk() -> list[Event]:
        with reading() as models:
            read = models.recognizer.run
            models.recognizer.run = lambda items: [*map(with_capitals, read(items))]  # type: ignore[method-assign]
            session = LiveSession(models, LiveOptions(source="en", to="pt"))
            session.push(live.spell([n % 40 for n in range(120)]))
            session.finish()
            return [event async for event in session.events()]

    events = asyncio.run(asyncio.wait_for(talk(), 60))
    said = [f"W{n % 40}" + "." * (n % 5 == 4) for n in range(120)]
    assert [word.text for event in live.of(CommittedEvent, events) for word in event.words] == said
    final = [event.source_text for event in live.of(TranslatedEvent, events) if event.final]
    assert final == [" ".join(said[at : at + 5]) for at in range(0, 120, 5)]  # no sentence is parted at a cut


def test_closing_early_ends_the_session_and_keeps_what_was_committed(
    live: Any, whisper: Whisper, talk: np.ndarray
) -> None:
    async def stop(session: LiveSession, now_s: float) -> None:
        if abs(now_s - 6.0) < 0.05:
            await session.close("the server stops")

    with live.models(whisper) as models:
        events = asyncio.run(live.replay(models, LiveOptions(source="en"), talk[: 16_000 * 6], meanwhile=stop))
    assert live.of(CommittedEvent, events)
    assert isinstance(events[-1], EndedEvent)
    assert events[-1].reason == "the server stops"
