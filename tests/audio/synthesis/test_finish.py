import numpy as np
import pytest

from mmpipe.audio.synthesis.finish import PEAK_DBFS, SPEECH_RMS_DBFS, match_loudness, trim
from mmpipe.types import Audio

RATE_HZ = 24_000


def tone(duration_s, amplitude=0.1, frequency_hz=220.0):
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def hush(duration_s, amplitude=1e-5):
    return np.random.default_rng(0).normal(0, amplitude, round(duration_s * RATE_HZ)).astype(np.float32)


def test_silence_at_the_ends_goes_and_silence_inside_stays():
    sound = Audio(np.concatenate([hush(0.4), tone(0.3), hush(0.2), tone(0.3), hush(0.5)]), RATE_HZ)
    assert trim(sound).duration_s == pytest.approx(0.8, abs=0.12)


def test_a_soft_ending_is_not_cut_off():
    soft = tone(0.1, amplitude=0.1 * 10 ** (-42 / 20))  # an f or a nasal, 42 dB below the vowel
    trimmed = trim(Audio(np.concatenate([hush(0.3), tone(0.3), soft, hush(0.4)]), RATE_HZ))
    assert trimmed.duration_s >= 0.4


def test_the_cut_ends_do_not_click():
    trimmed = trim(Audio(np.concatenate([tone(0.3)]), RATE_HZ)).samples
    assert abs(trimmed[0]) < 1e-4
    assert abs(trimmed[-1]) < 1e-4


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(5000, np.float32), hush(0.3)])
def test_mere_silence_becomes_nothing_not_amplified_noise(samples):
    assert len(trim(Audio(samples, RATE_HZ)).samples) == 0
    np.testing.assert_array_equal(match_loudness(Audio(samples, RATE_HZ)).samples, samples)


def level_dbfs(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


@pytest.mark.parametrize("amplitude", [0.02, 0.1, 0.9])
def test_loud_and_soft_voices_come_out_alike(amplitude):
    matched = match_loudness(Audio(tone(0.5, amplitude), RATE_HZ))
    assert level_dbfs(matched.samples) == pytest.approx(SPEECH_RMS_DBFS, abs=0.2)


def test_pauses_do_not_count_for_the_loudness():
    matched = match_loudness(Audio(np.concatenate([tone(0.5), np.zeros(RATE_HZ, np.float32)]), RATE_HZ))
    assert level_dbfs(matched.samples[: RATE_HZ // 2]) == pytest.approx(SPEECH_RMS_DBFS, abs=0.2)


def test_peaks_stay_below_the_limit():
    samples = tone(0.5, 0.01)
    samples[5000] = 0.5  # one click: at the wanted loudness it would be far over full scale
    matched = match_loudness(Audio(samples, RATE_HZ))
    assert 20 * np.log10(np.abs(matched.samples).max()) == pytest.approx(PEAK_DBFS, abs=0.1)
