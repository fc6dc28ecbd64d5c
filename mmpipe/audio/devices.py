"""Microphone and loudspeaker, through PortAudio (extra ``mic``)."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mmpipe.audio.media import resample
from mmpipe.errors import MediaError, MissingDependencyError
from mmpipe.extras import require
from mmpipe.types import SPEECH_RATE_HZ, Audio

BLOCK_S = 0.1  # of sound that the microphone hands over at once


def _sounddevice() -> Any:
    try:
        return require("sounddevice", "mic", "Sound from a microphone or to a loudspeaker")
    except OSError as error:  # the package is there, the library it wraps is not
        raise MissingDependencyError(
            f"Microphone and loudspeaker need the PortAudio library ({error}). On Debian: apt-get install libportaudio2"
        ) from error


@dataclass(frozen=True, slots=True)
class SoundDevice:
    """A sound device. ``inputs``, ``outputs``: its channels."""

    number: int
    name: str
    inputs: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.number:3}  {self.name}  ({self.inputs} in, {self.outputs} out)"


def list_devices() -> list[SoundDevice]:
    """Every sound device that there is.

    Raises:
        MediaError: there is none.
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """
    found = [
        SoundDevice(n, device["name"], device["max_input_channels"], device["max_output_channels"])
        for n, device in enumerate(_sounddevice().query_devices())
    ]
    if not found:
        raise MediaError(
            "There is no sound device. Plug in a microphone; in a container or over ssh there often is none: then give "
            "a recording instead, `mmpipe live --input talk.wav --realtime`."
        )
    return found


class Microphone:
    """Sound from a microphone as it comes, in 16 kHz mono blocks, for ever: ``async for block in microphone``.

    It is opened at once and heard from when the iteration begins. A context manager.

    ``device``: number or part of the name, as :func:`list_devices` gives them; None: the system's default.

    Raises:
        MediaError: there is no such microphone, or it cannot be opened.
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """

    def __init__(self, device: int | str | None = None) -> None:
        sounddevice = _sounddevice()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocks: asyncio.Queue[np.ndarray] = asyncio.Queue()
        try:
            self._stream = sounddevice.InputStream(
                samplerate=SPEECH_RATE_HZ,
                channels=1,
                dtype="float32",
                blocksize=round(BLOCK_S * SPEECH_RATE_HZ),
                device=device,
                callback=self._hear,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise MediaError(
                f"No microphone can be opened ({error}). `mmpipe live --list-devices` shows what there is; name one "
                "with --device, or use a file with --input."
            ) from error

    def _hear(self, samples: np.ndarray, frames: int, time: object, status: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._blocks.put_nowait, samples[:, 0].copy())

    async def __aiter__(self) -> AsyncIterator[Audio]:
        self._loop = asyncio.get_running_loop()
        self._stream.start()
        while True:
            yield Audio(await self._blocks.get())

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Loudspeaker:
    """Plays pieces of sound one after the other. A context manager.

    ``device``: as :class:`Microphone`.

    Raises:
        MediaError: no loudspeaker can be opened.
        MissingDependencyError: the extra ``mic``, or PortAudio, is not installed.
    """

    def __init__(self, rate_hz: int = 24_000, device: int | str | None = None) -> None:
        sounddevice = _sounddevice()
        self.rate_hz = rate_hz
        self._pieces: deque[np.ndarray] = deque()  # not played yet
        self._lock = threading.Lock()  # PortAudio fetches from a thread of its own
        try:
            self._stream = sounddevice.OutputStream(
                samplerate=rate_hz, channels=1, dtype="float32", device=device, callback=self._fill
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise MediaError(f"No loudspeaker can be opened ({error}). Leave the voice out with --mute.") from error
        self._stream.start()

    def play(self, audio: Audio) -> None:
        """Queue ``audio``; returns at once."""
        samples = resample(audio, self.rate_hz).samples
        with self._lock:
            self._pieces.append(samples)

    def stop(self) -> None:
        """Forget what has not been played."""
        with self._lock:
            self._pieces.clear()

    @property
    def playing(self) -> bool:
        """Whether sound is, or is about to be, coming out."""
        return bool(self._pieces)

    def _fill(self, out: np.ndarray, frames: int, time: object, status: object) -> None:
        filled = 0
        with self._lock:
            while filled < frames and self._pieces:
                piece = self._pieces.popleft()
                count = min(frames - filled, len(piece))
                out[filled : filled + count, 0] = piece[:count]
                filled += count
                if count < len(piece):
                    self._pieces.appendleft(piece[count:])
        out[filled:] = 0

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
