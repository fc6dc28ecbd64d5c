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
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE_HZ)
    came = False
    for_one_block = round(BLOCK_S * rate_hz) * 2
    while raw := await asyncio.to_thread(file.read, for_one_block):
        came = True
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)
        yield _resampled(resampler, media.as_frame(Audio(samples, rate_hz)))
    if not came:
        raise MediaError("No sound comes in on standard input. It wants 16-bit little-endian mono samples.")
    yield _resampled(resampler, None)


def _resampled(resampler: av.AudioResampler, frame: AudioFrame | None) -> Audio:
    """What the resampler gives for ``frame`` by now; for None: what it has held back."""
    pieces = [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return Audio(np.concatenate([np.zeros(0, np.float32), *pieces]))
