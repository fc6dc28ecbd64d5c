"""Where the sound of a live session comes from, besides a microphone: files, URLs, standard input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame

from mmpipe.audio import media
from mmpipe.batching import Clock, MonotonicClock
from mmpipe.errors import MediaError
from mmpipe.types import SPEECH_RATE_HZ, Audio

BLOCK_S = 0.1


async def recording(source: media.Source, *, realtime: bool, clock: Clock | None = None) -> AsyncIterator[Audio]:
    """A file or a URL in blocks of 0.1 s. ``realtime``: no block before a microphone would have given it.

    A URL of a live stream has a pace of its own; there ``realtime`` only evens out bursts.

    Raises:
        MediaError: it cannot be read, or has no sound.
    """
    clock = clock or MonotonicClock()
    began_s, sent_s = clock.now_s(), 0.0
    blocks = media.stream(source, block_s=BLOCK_S)
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        sent_s += block.duration_s
        if realtime and (early_s := began_s + sent_s - clock.now_s()) > 0:
            await asyncio.sleep(early_s)
        yield block


async def pcm(file: BinaryIO, rate_hz: int = SPEECH_RATE_HZ) -> AsyncIterator[Audio]:
    """Raw 16-bit little-endian mono samples, as other programs write them to a pipe, in blocks of 0.1 s.

    Raises:
        MediaError: not one sample comes.
    """
    to_ours = _Resampler(rate_hz)
    came = False
    for_one_block = round(BLOCK_S * rate_hz) * 2
    while raw := await asyncio.to_thread(file.read, for_one_block):
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)
        if len(samples):
            came = True
            yield to_ours.feed(Audio(samples, rate_hz))
    if not came:
        raise MediaError("No sound comes in on standard input. It wants 16-bit little-endian mono samples.")
    yield to_ours.flush()


class _Resampler:
    """Blocks at some rate to blocks at ours, without a click where they meet."""

    def __init__(self, rate_hz: int) -> None:
        same = rate_hz == SPEECH_RATE_HZ
        self._resampler = None if same else av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE_HZ)

    def feed(self, audio: Audio) -> Audio:
        return self._pull(media.as_frame(audio)) if self._resampler else audio

    def flush(self) -> Audio:
        """What was held back."""
        return self._pull(None) if self._resampler else Audio(np.zeros(0, np.float32))

    def _pull(self, frame: AudioFrame | None) -> Audio:
        assert self._resampler is not None
        pieces = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return Audio(np.concatenate([np.zeros(0, np.float32), *pieces]))
