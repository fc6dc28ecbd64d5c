"""What an audio projector is trained with: each recording with the teacher's answer to its own question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmpipe.fusion.audio.config import SpokenConfig
from mmpipe.fusion.audio.distillation import teach
from mmpipe.fusion.audio.questions import SpokenQuestion
from mmpipe.generation.language_model import LanguageModel
from mmpipe.pipelines import spoken_training
from mmpipe.types import SPEECH_RATE_HZ, Audio, SpeechRequest

#: Of different lengths, in an order that is not that of their lengths.
TEXTS = ("Is it red?", "How many legs has a spider?", "Is it big?", "What is an apple?", "Is it old?", "Who are you?")


class Encoder:
    identity, max_items = "fake", 8

    def run(self, items: Sequence[Audio]) -> list[np.ndarray]:
        return [np.full((16, 4), item.samples[0], np.float32) for item in items]


class TextToSpeech:
    """Says a question as a sound that tells which it is."""

    def __init__(self) -> None:
        self.said = 0

    def speak_many(self, wanted: Sequence[SpeechRequest]) -> list[Audio]:
        self.said += len(wanted)
        return [Audio(np.full(SPEECH_RATE_HZ, number(one.text), np.float32)) for one in wanted]


def number(text: str) -> float:
    return (TEXTS.index(text) + 1) / 8


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SpokenQuestion]:
    monkeypatch.setattr(spoken_training, "SileroVad", lambda: None)
    monkeypatch.setattr(spoken_training, "speech_in", lambda sound, _: sound)
    monkeypatch.setattr(SpokenQuestion, "held_out", property(lambda one: one.text in TEXTS[3:]))
    found = [SpokenQuestion(text) for text in TEXTS]
    monkeypatch.setattr(spoken_training, "questions", lambda: found)
    return found


@pytest.mark.usefixtures("asked")
def test_each_recording_is_taught_the_answer_to_its_own_question(tmp_path: Path) -> None:
    lm = LanguageModel.tiny(seed=3)
    config = SpokenConfig.model_validate(
        {"speech": {"voices": ["joe"], "clips_per_question": 2, "answer_tokens": 6}, "optimizer": {"steps": 1}}
    )
    own = {number(text): taught.token_ids.tolist() for text, taught in teach(lm, TEXTS, 6).items()}
    assert len({tuple(ids) for ids in own.values()}) == len(TEXTS), "answers that are alike would show nothing"
    speaker = TextToSpeech()
    for _ in range(2):  # made, and read from the file
        made = spoken_training.recordings(config, Encoder(), lm, tmp_path, speaker)  # type: ignore[arg-type]
        items = [*made.batch(0, 6), *made.validation()]
        assert {float(item.stacked[0, 0]) for item in items} == set(own)
        for item in items:
            assert item.taught.token_ids.tolist() == own[float(item.stacked[0, 0])]
    assert speaker.said == 9
