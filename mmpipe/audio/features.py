"""Spectral features: log-mel and MFCC by librosa's conventions, and the log-mel that Whisper was trained on.

All of it is a windowed FFT, a mel filter bank and a logarithm; numpy does it as fast as the models can eat.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.types import SPEECH_RATE_HZ, Audio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# Whisper's front end (openai/whisper, audio.py)
WHISPER_FFT = 400  # samples in a window: 25 ms at 16 kHz
WHISPER_HOP = 160  # samples between windows: 10 ms, so 100 frames a second
WHISPER_FRAMES_PER_S = SPEECH_RATE_HZ // WHISPER_HOP
WHISPER_MAX_FRAMES = 3_000  # 30 s, the context the model was trained with

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above
_HZ_PER_MEL = 200.0 / 3
_LOG_FROM_HZ = 1_000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _HZ_PER_MEL
    return _LOG_FROM_MEL + math.log(hz / _LOG_FROM_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _LOG_FROM_MEL, mel * _HZ_PER_MEL, _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL)))


@lru_cache(maxsize=16)
def mel_filters(rate_hz: int, n_fft: int, n_mels: int) -> Floats:
    """Triangular filters of equal area, float32 of shape (n_mels, n_fft // 2 + 1); ``librosa.filters.mel``."""
    bins_hz = np.fft.rfftfreq(n_fft, 1 / rate_hz)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(rate_hz / 2), n_mels + 2))
    widths = np.diff(edges_hz)
    ramps = edges_hz[:, None] - bins_hz[None]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    filters = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return filters.astype(np.float32)


@lru_cache(maxsize=16)
def _hann(n: int) -> Floats:
    return np.hanning(n + 1)[:-1].astype(np.float32)  # periodic, as for spectral analysis


def _power(padded: Floats, n_fft: int, hop: int) -> Floats:
    """|STFT|^2 of already padded samples (..., n): shape (..., frames, n_fft // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]
    spectrum = np.fft.rfft(frames * _hann(n_fft))
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def log_mel(audio: Audio, *, n_mels: int = 128, n_fft: int = 2048, hop: int = 512, top_db: float = 80.0) -> Floats:
    """Log-mel spectrogram in dB, float32 of shape (n_mels, frames).

    As ``librosa.power_to_db(librosa.feature.melspectrogram(y, sr))``: centred frames, zero padding, Slaney filters.
    """
    padded = np.pad(audio.samples, n_fft // 2)
    mel = mel_filters(audio.rate_hz, n_fft, n_mels) @ _power(padded, n_fft, hop).T
    db = 10 * np.log10(np.maximum(mel, 1e-10))
    clipped: Floats = np.maximum(db, db.max() - top_db).astype(np.float32)
    return clipped


def mfcc(audio: Audio, *, n_mfcc: int = 20, n_mels: int = 128, n_fft: int = 2048, hop: int = 512) -> Floats:
    """Mel-frequency cepstral coefficients, float32 of shape (n_mfcc, frames); ``librosa.feature.mfcc``."""
    bands = np.arange(n_mels)
    dct = np.cos(np.pi / n_mels * (bands[None] + 0.5) * np.arange(n_mfcc)[:, None]) * np.sqrt(2 / n_mels)
    dct[0] /= np.sqrt(2)
    found: Floats = (dct @ log_mel(audio, n_mels=n_mels, n_fft=n_fft, hop=hop)).astype(np.float32)
    return found


def whisper_log_mel(batch: Floats, n_mels: int = 80) -> Floats:
    """Whisper's input for a batch of equally long 16 kHz sounds.

    ``batch``: float32 of shape (b, n), n a multiple of 160. Returns float32 of shape (b, n_mels, n // 160), each row
    scaled by its own maximum, as openai/whisper does.
    """
    half = WHISPER_FFT // 2
    padded = np.pad(batch, ((0, 0), (half, half)), mode="reflect")
    power = _power(padded, WHISPER_FFT, WHISPER_HOP)[:, :-1]  # the last frame is centred past the end
    mel = mel_filters(SPEECH_RATE_HZ, WHISPER_FFT, n_mels) @ power.swapaxes(1, 2)
    log = np.log10(np.maximum(mel, 1e-10))
    log = np.maximum(log, log.max(axis=(1, 2), keepdims=True) - 8.0)
    return np.ascontiguousarray((log + 4.0) / 4.0, dtype=np.float32)
