"""Microphone and loudspeaker, through PortAudio (extra ``mic``)."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from mmpipe.errors import MediaError, MissingDependencyError
from mmpipe.extras import require
from mmpipe.types import SPEECH_RATE_HZ, Audio

BLOCK_S = 0.1  # of sound that the microphone hands over at once


def _sounddevice() -> Any:
    try:
        return require("sounddevice", "mic", "The microphone")
    except OSError as error:  # the package is there, the library it wraps is not
        raise MissingDependencyError(
            f"The microphone needs the PortAudio library ({error}). On Debian: apt-get install libportaudio2"
        ) from error


def list_devices() -> list[tuple[int, str, int, int]]:
    """(number, name, inputs, outputs) of every sound device.

    Raises:
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """
    return [
        (n, device["name"], device["max_input_channels"], device["max_output_channels"])
        for n, device in enumerate(_sounddevice().query_devices())
    ]


async def microphone(device: int | str | None = None) -> AsyncIterator[Audio]:
    """Sound from a microphone as it comes, in 16 kHz mono blocks, for ever.

    ``device``: number or part of the name, as :func:`list_devices` gives them; None: the system's default.

    Raises:
        MediaError: there is no such microphone, or it cannot be opened.
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """
    sounddevice = _sounddevice()
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[np.ndarray] = asyncio.Queue()

    def hear(samples: np.ndarray, frames: int, time: object, status: object) -> None:
        loop.call_soon_threadsafe(blocks.put_nowait, samples[:, 0].copy())

    try:
        stream = sounddevice.InputStream(
            samplerate=SPEECH_RATE_HZ,
            channels=1,
            dtype="float32",
            blocksize=round(BLOCK_S * SPEECH_RATE_HZ),
            device=device,
            callback=hear,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MediaError(
            f"No microphone can be opened ({error}). `mmpipe live --list-devices` shows what there is; name one with "
            "--device, or use a file with --input."
        ) from error
    with stream:
        while True:
            yield Audio(await blocks.get())


class Loudspeaker:
    """Plays pieces of sound one after the other. A context manager.

    Raises:
        MediaError: no loudspeaker can be opened.
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """

    def __init__(self, rate_hz: int = 24_000, device: int | str | None = None) -> None:
        sounddevice = _sounddevice()
        self._pieces: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        self._now = np.zeros(0, np.float32)
        self.rate_hz = rate_hz
        self._waiting = 0  # samples
        try:
            self._stream = sounddevice.OutputStream(
                samplerate=rate_hz, channels=1, dtype="float32", device=device, callback=self._fill
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise MediaError(f"No loudspeaker can be opened ({error}). Leave the voice out with --mute.") from error
        self._stream.start()

    def play(self, audio: Audio) -> None:
        """Queue ``audio``; returns at once."""
        from mmpipe.audio.media import resample

        samples = resample(audio, self.rate_hz).samples
        self._waiting += len(samples)
        self._pieces.put(samples)

    @property
    def playing(self) -> bool:
        """Whether sound is, or is about to be, coming out."""
        return self._waiting > 0

    def _fill(self, out: np.ndarray, frames: int, time: object, status: object) -> None:
        filled = 0
        while filled < frames:
            if not len(self._now):
                try:
                    self._now = self._pieces.get_nowait()
                except queue.Empty:
                    break
            count = min(frames - filled, len(self._now))
            out[filled : filled + count, 0] = self._now[:count]
            self._now = self._now[count:]
            filled += count
        out[filled:] = 0
        self._waiting -= filled

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def __enter__(self) -> Loudspeaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
