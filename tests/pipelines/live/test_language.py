"""Which language is spoken: found out, doubted, found out anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import load_clips
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.pipelines.live import CommittedEvent, Event, LanguageEvent, LiveOptions, TranslatedEvent
from mmpipe.pipelines.live.language import DOUBT_LOGPROB, SpokenLanguage
from mmpipe.pipelines.live.segmenter import Window
from mmpipe.types import Audio, Segment

DATA = Path(__file__).parents[2] / "data"
PAUSE = np.zeros(24_000, np.float32)
CLEAR, UNCLEAR = DOUBT_LOGPROB + 0.2, DOUBT_LOGPROB - 0.2


def window(duration_s: float = 3.0, *, last: bool = False) -> Window:
    return Window(0.0, Audio(np.zeros(round(16_000 * duration_s), np.float32)), last)


def found(language: str, probability: float | None = 0.95, avg_logprob: float = CLEAR) -> Segment:
    return Segment(0.0, 1.0, "so", language, language_probability=probability, avg_logprob=avg_logprob)


def hear(spoken: SpokenLanguage, *segments: Segment, duration_s: float = 3.0) -> None:
    for segment in segments:
        spoken.heard(window(duration_s), segment, committed=False)


def test_a_language_is_settled_when_it_is_sure_in_a_window_that_is_long_enough() -> None:
    spoken = SpokenLanguage(None)
    hear(spoken, found("en"), duration_s=1.0)
    assert spoken.language is None
    hear(spoken, found("es", 0.6))
    assert spoken.language is None
    hear(spoken, found("es"))
    assert spoken.language == "es"
    assert not spoken.open


def test_a_language_that_was_named_is_never_doubted() -> None:
    spoken = SpokenLanguage("en")
    hear(spoken, *[found("en", None, UNCLEAR)] * 5)
    assert not spoken.open
    assert spoken.language == "en"


def test_two_doubtful_windows_in_a_row_ask_for_the_language_anew() -> None:
    spoken = SpokenLanguage(None)
    hear(spoken, found("en"), found("en", None, UNCLEAR), found("en", None), found("en", None, UNCLEAR))
    assert not spoken.open
    hear(spoken, found("en", None, UNCLEAR))
    assert spoken.open
    hear(spoken, found("es"))
    assert spoken.language == "es"
    assert not spoken.open


def test_what_is_asked_anew_and_not_sure_stays_as_it_was() -> None:
    spoken = SpokenLanguage(None)
    hear(spoken, found("en"), *[found("en", None, UNCLEAR)] * 2)
    unsure = found("gl", 0.5, UNCLEAR)
    assert spoken.alternative(unsure) == "en"
    again = found("en", None)
    assert spoken.better(unsure, again) is again
    hear(spoken, again)
    assert spoken.language == "en"
    assert not spoken.open


def test_between_two_languages_a_doubtful_window_is_heard_in_both_and_the_better_taken() -> None:
    spoken = SpokenLanguage(None, ("en", "es"))
    doubtful = found("en", 0.99, UNCLEAR)
    assert spoken.candidates == ("en", "es")
    assert spoken.alternative(found("en")) is None
    assert spoken.alternative(doubtful) == "es"
    assert spoken.better(doubtful, found("es", None, CLEAR)).language == "es"
    assert spoken.better(doubtful, found("es", None, UNCLEAR - 0.1)).language == "en"


def test_between_two_languages_each_utterance_is_asked_for_anew() -> None:
    spoken = SpokenLanguage(None, ("en", "es"))
    spoken.heard(window(1.0), found("en"), committed=True)  # what was committed settles the language
    assert spoken.language == "en"
    assert not spoken.open
    spoken.heard(window(last=True), found("en"), committed=True)
    assert spoken.open


def test_options_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(InputError, match="leave out"):
        LiveOptions(between=("en", "es"), to="pt")
    with pytest.raises(InputError, match="two languages"):
        LiveOptions(between=("en", "en"))
    with pytest.raises(InputError, match="'to' or 'between'"):
        LiveOptions(speak=True)


# --- real speech --------------------------------------------------------------------------------------------------


def clip(language: str, name: str) -> np.ndarray:
    return media.load(DATA / "prompts" / language / f"{name}.wav").samples


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate([piece for part in parts for piece in (part, PAUSE)])


def session(live: Any, whisper: Whisper, options: LiveOptions, sound: np.ndarray) -> list[Event]:
    with live.models(whisper) as models:
        return list(asyncio.run(live.replay(models, options, sound)))


def languages(events: Sequence[Event]) -> list[str]:
    """Of what was committed, each once where it changes."""
    found = [event.language for event in events if isinstance(event, CommittedEvent)]
    return [code for n, code in enumerate(found) if n == 0 or found[n - 1] != code]


@pytest.mark.parametrize(
    ("other", "name"), [("es", "queue-periodic-announce"), ("fr", "queue-periodic-announce"), ("es", "transfer")]
)
def test_in_a_two_way_talk_each_is_translated_for_the_other(live: Any, whisper: Whisper, other: str, name: str) -> None:
    sound = joined(clip("en", "conf-waitforleader"), clip(other, name), clip("en", "vm-savefolder"))
    events = session(live, whisper, LiveOptions(between=("en", other), draft=False), sound)
    assert languages(events) == ["en", other, "en"]
    translated = [event.language for event in live.of(TranslatedEvent, events)]
    assert translated[0] == translated[-1] == other
    assert "en" in translated
    announced = [(event.previous, event.language) for event in live.of(LanguageEvent, events)]
    assert announced == [(None, "en"), ("en", other), (other, "en")]


@pytest.mark.parametrize("other", ["es", "fr"])
def test_a_speaker_who_changes_the_language_is_followed(live: Any, whisper: Whisper, other: str) -> None:
    english = next(one for one in load_clips(DATA, "en") if one.path.stem == "queue-periodic-announce")
    parts = [clip(*which) for which in (("en", english.path.stem), (other, english.path.stem), (other, "ss-noservice"))]
    sound = joined(*parts)
    events = session(live, whisper, LiveOptions(to="pt", draft=False), sound)
    changes = live.of(LanguageEvent, events)
    assert [(event.previous, event.language) for event in changes] == [(None, "en"), ("en", other)]
    before = [event for event in live.of(CommittedEvent, events) if event.language == "en"]
    assert word_error_rate([english.text], [" ".join(event.text for event in before)], "en") <= 0.35
    after = [event for event in live.of(CommittedEvent, events) if event.seq > changes[1].seq]
    assert {event.language for event in after} == {other}
    assert len(" ".join(event.text for event in after).split()) > 15
    assert all(event.language == "pt" for event in live.of(TranslatedEvent, events))
