from __future__ import annotations

import numpy as np
import pytest

from mmpipe.audio import features, media
from mmpipe.evaluate.clips import Clip
from mmpipe.types import Audio

librosa = pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def speech(librivox: list[Clip]) -> Audio:
    return media.load(librivox[0].path)


@pytest.mark.parametrize(("rate_hz", "n_fft", "n_mels"), [(16_000, 400, 80), (22_050, 2048, 128), (48_000, 1024, 40)])
def test_mel_filters_are_librosas(rate_hz: int, n_fft: int, n_mels: int) -> None:
    expected = librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(features.mel_filters(rate_hz, n_fft, n_mels), expected, atol=1e-7)


def test_log_mel_is_librosas(speech: Audio) -> None:
    expected = librosa.power_to_db(librosa.feature.melspectrogram(y=speech.samples, sr=speech.rate_hz))
    found = features.log_mel(speech)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.01)  # dB


def test_mfcc_is_librosas(speech: Audio) -> None:
    expected = librosa.feature.mfcc(y=speech.samples, sr=speech.rate_hz, n_mfcc=13)
    np.testing.assert_allclose(features.mfcc(speech, n_mfcc=13), expected, atol=0.05)


def test_whisper_log_mel_is_whispers(speech: Audio) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    whole = len(speech.samples) // 160 * 160
    expected = FeatureExtractor(feature_size=80)(speech.samples[:whole], padding=0)
    found = features.whisper_log_mel(speech.samples[None, :whole])[0]
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=1e-4)


def test_rows_of_a_batch_do_not_depend_on_each_other(speech: Audio) -> None:
    row = speech.samples[:32_000]
    batch = np.stack([row, 0.1 * row[::-1]])
    np.testing.assert_allclose(features.whisper_log_mel(batch)[:1], features.whisper_log_mel(batch[:1]), atol=1e-6)
