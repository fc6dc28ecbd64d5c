"""Results in any language: text is joined as its language is written."""

from __future__ import annotations

import pytest

from mmpipe.pipelines.speech_translation import TranslatedRecording
from mmpipe.types import Segment, Tier, Transcript, TranslatedSegment, Translation, joined


@pytest.mark.parametrize(("language", "text"), [("en", "Yes. No."), ("zh", "Yes.No."), ("ja", "Yes.No.")])
def test_texts_are_joined_as_their_language_is_written(language: str, text: str) -> None:
    assert joined(["Yes.", "", "No."], language) == text


def test_a_transcript_in_chinese_has_no_spaces_between_its_segments() -> None:
    segments = tuple(Segment(at, at + 1.0, text, "zh") for at, text in ((0.0, "你好。"), (1.0, "再见。")))
    assert Transcript(segments, "zh", 2.0).text == "你好。再见。"


def test_a_translated_recording_joins_each_language_in_its_own_way() -> None:
    pairs = [("你好。", "Hello."), ("再见。", "Goodbye.")]
    segments = tuple(
        TranslatedSegment(
            Segment(at, at + 1.0, said, "zh"), Translation(said, meant, "zh", "en", ("a zh>en",), Tier.GOOD)
        )
        for at, (said, meant) in enumerate(pairs)
    )
    recording = TranslatedRecording(segments, "en")
    assert recording.source_text == "你好。再见。"
    assert recording.text == "Hello. Goodbye."
