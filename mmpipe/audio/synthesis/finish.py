"""What every engine's sound gets before it is heard: silence cut from its ends, and one loudness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmpipe.types import Audio

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FRAME_S = 0.01
# What is this much quieter than the loudest frame is no speech. Kokoro's silence is at -80 dBFS and below, Piper's
# around -75; their softest endings (a nasal, an f) are some 40 dB below the loudest frame.
_SPEECH_BELOW_PEAK_DB = 50.0
_SILENCE_DBFS = -65.0  # a sound that never rises above this is silence
_KEPT_BEFORE_S, _KEPT_AFTER_S = 0.03, 0.06  # breath before the first sound, decay after the last
_FADE_S = 0.005  # against clicks where the sound was cut

#: RMS of the frames with speech in them, in dB below full scale, with its highest sample held at PEAK_DBFS. For
#: speech this is about -20 LUFS (the K-weighting of ITU-R BS.1770 changes a voice by a decibel or so).
SPEECH_RMS_DBFS = -20.0
PEAK_DBFS = -1.0
_SPEECH_BELOW_LOUDEST_DB = 30.0  # frames nearer than this to the loudest count for the RMS
_MAX_GAIN_DB = 20.0


def trim(audio: Audio) -> Audio:
    """``audio`` without the silence at its ends; empty if there is nothing else."""
    levels = _frame_levels_db(audio)
    loudest = levels.max(initial=-np.inf)
    if loudest < _SILENCE_DBFS:
        return Audio(np.zeros(0, np.float32), audio.rate_hz)
    speech = np.flatnonzero(levels > max(loudest - _SPEECH_BELOW_PEAK_DB, _SILENCE_DBFS))
    kept = audio.slice(speech[0] * _FRAME_S - _KEPT_BEFORE_S, (speech[-1] + 1) * _FRAME_S + _KEPT_AFTER_S)
    samples = kept.samples.copy()
    fade = np.linspace(0, 1, min(int(_FADE_S * audio.rate_hz), len(samples)), dtype=np.float32)
    samples[: len(fade)] *= fade
    samples[len(samples) - len(fade) :] *= fade[::-1]
    return Audio(samples, audio.rate_hz)


def match_loudness(audio: Audio) -> Audio:
    """``audio`` at :data:`SPEECH_RMS_DBFS`, its peak at most :data:`PEAK_DBFS`: one gain over all of it, no limiter."""
    levels = _frame_levels_db(audio)
    loudest = levels.max(initial=-np.inf)
    if loudest < _SILENCE_DBFS:
        return audio
    power = 10 ** (levels[levels > loudest - _SPEECH_BELOW_LOUDEST_DB] / 10)
    gain_db = SPEECH_RMS_DBFS - 10 * np.log10(power.mean())
    headroom_db = PEAK_DBFS - 20 * np.log10(np.abs(audio.samples).max())
    gain = np.float32(10 ** (min(gain_db, headroom_db, _MAX_GAIN_DB) / 20))
    return Audio(audio.samples * gain, audio.rate_hz)


def silence(duration_s: float, rate_hz: int) -> Audio:
    return Audio(np.zeros(max(0, round(duration_s * rate_hz)), np.float32), rate_hz)


def join(pieces: list[Audio], rate_hz: int) -> Audio:
    """All of ``pieces``, one after the other."""
    return Audio(np.concatenate([np.zeros(0, np.float32), *(piece.samples for piece in pieces)]), rate_hz)


def _frame_levels_db(audio: Audio) -> NDArray[np.float64]:
    """RMS of each frame of 10 ms in dB of full scale, shape (frames,)."""
    frame = max(1, round(_FRAME_S * audio.rate_hz))
    padded = np.pad(audio.samples, (0, -len(audio.samples) % frame)).reshape(-1, frame)
    power = np.square(padded, dtype=np.float64).mean(axis=1) if len(padded) else np.zeros(0)
    return 10 * np.log10(power + 1e-12)
