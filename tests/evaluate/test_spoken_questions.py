"""Scoring of spoken questions, on a tiny language model that hears words as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mmpipe.evaluate.spoken_questions import HELD_OUT_VOICES, KNOWN_VOICE, held_out_clips, right, score
from mmpipe.fusion.audio.questions import SpokenQuestion
from mmpipe.generation.language_model import LanguageModel
from mmpipe.pipelines.spoken_training import QuestionClip
from mmpipe.types import Audio


def test_only_held_out_questions_are_asked_by_a_known_and_a_new_voice() -> None:
    clips = held_out_clips(10)
    assert len(clips) == 20
    assert all(clip.question.held_out for clip in clips)
    assert {clip.voice for clip in clips[:10]} == {KNOWN_VOICE}
    assert {clip.voice for clip in clips[10:]} == set(HELD_OUT_VOICES)


def test_accepted_words_count_as_words_and_yes_must_come_first() -> None:
    assert right(SpokenQuestion("", ("Rome",)), "It is Rome, of course.")
    assert not right(SpokenQuestion("", ("Rome",)), "Romeo.")
    assert right(SpokenQuestion("", ("yes",)), "Yes, it is.")
    assert not right(SpokenQuestion("", ("yes",)), "No, yes.")


def test_ways_are_compared_with_the_answer_to_the_text() -> None:
    """Perfect embeddings and a deaf recognizer: fusion is the text, the transcript is not."""
    lm = LanguageModel.tiny(seed=2)
    asked = [SpokenQuestion("hello you"), SpokenQuestion("what is it", ("yes",))]
    clips = [QuestionClip(one, voice) for voice in (KNOWN_VOICE, "other") for one in asked]
    sounds = [Audio(np.full(1, at, np.float32)) for at in range(4)]

    def embed(given: Sequence[Audio]) -> list[torch.Tensor]:
        return [lm.embed(lm.encode(clips[int(one.samples[0])].question.text)).detach() for one in given]

    found = score(lm, clips, sounds, lambda given: ["" for _ in given], embed)
    assert set(found) == {"known voice", "new voices"}
    for ways in found.values():
        assert ways["text"].same.value == ways["fusion"].same.value == ways["fusion"].first.value == 1.0
        assert ways["transcript"].same.value < 1.0
        assert ways["text"].right.total == 1
