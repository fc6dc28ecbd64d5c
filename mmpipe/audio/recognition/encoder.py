"""What Whisper's encoder hears, without the decoder: frames for a model that is to listen itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.audio.features import WHISPER_FRAMES_PER_S, WHISPER_HOP, WHISPER_MAX_FRAMES, whisper_log_mel
from mmpipe.errors import InputError
from mmpipe.memory import bound_kernel_cache
from mmpipe.stage import Stage
from mmpipe.types import SPEECH_RATE_HZ, Audio
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_AUDIO_S = WHISPER_MAX_FRAMES / WHISPER_FRAMES_PER_S
#: The second convolution of the encoder halves the frames of the spectrogram.
ENCODED_FRAMES_PER_S = WHISPER_FRAMES_PER_S // 2
#: Sound is padded with silence to this length, which is where recognition is as good as with 30 s.
MIN_CONTEXT_S = 10.0


class SpeechEncoder(Stage[Audio, "NDArray[np.float32]"]):
    """Sound (16 kHz mono, at most 30 s) to float32 (n, hidden), 50 frames a second; silence put behind it is left out.

    Cost: seconds of audio. ``weights``: as for :class:`~mmpipe.audio.recognition.whisper.Whisper`. ``threads``: 0: as
    many as there are cores, four at most. ``identity``: of the weights; what was trained on the frames of encoders
    with equal identities can be exchanged.

    Raises:
        WeightsError: the weights cannot be had.
        InputError: the device or the compute type is not supported here.
    """

    name = "whisper-encoder"

    def __init__(
        self,
        weights: str | Path = "whisper-base",
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        threads: int = 0,
    ) -> None:
        import ctranslate2

        bound_kernel_cache()
        folder = fetch(weights)
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=device,
                compute_type=compute_type,
                intra_threads=threads or min(4, os.cpu_count() or 1),
            )
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"Whisper cannot run from {folder} on device {device!r} as {compute_type!r}: {error}"
            ) from error
        with (folder / "model.bin").open("rb") as stream:
            self.identity = f"whisper-encoder {hashlib.file_digest(stream, 'sha256').hexdigest()}"
        self._silence = Audio(np.zeros(SPEECH_RATE_HZ, np.float32))
        self.hidden_size = self.run([self._silence])[0].shape[1]

    def cost(self, item: Audio) -> float:
        return max(item.duration_s, MIN_CONTEXT_S)

    def run(self, items: Sequence[Audio]) -> list[NDArray[np.float32]]:
        for item in items:
            _check(item)
        encoded = np.asarray(self._encode(self._padded(items)), np.float32)
        return [row[: frame_count(item)].copy() for row, item in zip(encoded, items, strict=True)]

    def _encode(self, batch: NDArray[np.float32]) -> Any:
        import ctranslate2

        mel = whisper_log_mel(batch, self._model.n_mels)
        found = self._model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True)
        return found.to(ctranslate2.DataType.float32)

    def _padded(self, items: Sequence[Audio]) -> NDArray[np.float32]:
        """Float32 (b, n): all as long as the longest, n a whole number of encoded frames."""
        longest_s = max(MIN_CONTEXT_S, *(item.duration_s for item in items))
        step = SPEECH_RATE_HZ // ENCODED_FRAMES_PER_S
        batch = np.zeros((len(items), step * -(-round(longest_s * SPEECH_RATE_HZ) // step)), np.float32)
        for row, item in zip(batch, items, strict=True):
            row[: len(item.samples)] = item.samples
        return batch


def frame_count(audio: Audio) -> int:
    """Encoded frames that hold some of ``audio``."""
    return -(-len(audio.samples) // (2 * WHISPER_HOP))


def _check(audio: Audio) -> None:
    if audio.rate_hz != SPEECH_RATE_HZ or not 0 < audio.duration_s <= MAX_AUDIO_S:
        raise InputError(
            f"Whisper's encoder hears up to {MAX_AUDIO_S:.0f} s at {SPEECH_RATE_HZ} Hz at once, not "
            f"{audio.duration_s:.1f} s at {audio.rate_hz} Hz. Resample it, and cut it with "
            "mmpipe.audio.vad.speech_chunks."
        )
