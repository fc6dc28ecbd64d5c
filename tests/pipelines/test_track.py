from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.pipelines.track import PAUSE_S, SpeechTrack
from mmpipe.types import Audio, Segment, TranslatedSegment, Translation


def spoken(start_s: float, end_s: float, speech_s: float) -> TranslatedSegment:
    speech = Audio(np.full(round(speech_s * 24_000), 0.5, np.float32), 24_000)
    return TranslatedSegment(Segment(start_s, end_s, "x", "en"), Translation("x", "y", "en", "pt"), speech)


def loud(path: Path, at_s: float) -> bool:
    return bool(media.load(path, 24_000).slice(at_s, at_s + 0.02).samples.mean() > 0.4)


def test_sentences_follow_one_another_with_a_pause(tmp_path: Path) -> None:
    with SpeechTrack(tmp_path / "out.wav") as track:
        assert track.add(spoken(5.0, 6.0, 1.0)) == (0.0, 1.0)
        assert track.add(spoken(20.0, 21.0, 1.0)) == pytest.approx((1.0 + PAUSE_S, 2.0 + PAUSE_S))


def test_dubbed_sentences_begin_at_their_time(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    with SpeechTrack(path, dub=True) as track:
        assert track.add(spoken(2.0, 3.0, 1.5)) == pytest.approx((2.0, 3.5))
        assert track.add(spoken(3.0, 4.0, 0.5)) == pytest.approx((3.5, 4.0))  # the one before is still speaking
        assert track.add(spoken(6.0, 7.0, 0.5)) == pytest.approx((6.0, 6.5))
        track.pad_to(10.0)
        assert track.max_lag_s == pytest.approx(0.5)
    assert media.load(path, 24_000).duration_s == pytest.approx(10.0)
    assert [loud(path, at_s) for at_s in (1.9, 2.1, 3.4, 3.9, 4.2, 6.1, 9.9)] == [0, 1, 1, 1, 0, 1, 0]


def test_a_sentence_without_speech_takes_no_time(tmp_path: Path) -> None:
    with SpeechTrack(tmp_path / "out.wav") as track:
        silent = TranslatedSegment(Segment(0.0, 1.0, "x", "en"), Translation("x", "y", "en", "pt"))
        assert track.add(silent) == (0.0, 0.0)
        assert track.duration_s == 0.0
