"""Where the sound of a live session comes from, besides a microphone: files, URLs, standard input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame

from mmpipe.audio import media
from mmpipe.batching import Clock, MonotonicClock
from mmpipe.errors import MediaError
from mmpipe.types import SPEECH_RATE_HZ, Audio

BLOCK_S = 0.1
T = TypeVar("T")


async def recording(source: media.Source, *, realtime: bool, clock: Clock | None = None) -> AsyncIterator[Audio]:
    """A file or a URL in blocks of 0.1 s. ``realtime``: no block before a microphone would have given it.

    A URL of a live stream has a pace of its own; there ``realtime`` only evens out bursts.

    Raises:
        MediaError: it cannot be read, or has no sound.
    """
    clock = clock or MonotonicClock()
    began_s, sent_s = clock.now_s(), 0.0
    async for block in _waited_for(media.stream(source, block_s=BLOCK_S)):
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
    async for raw in _waited_for(_blocks(file, round(BLOCK_S * rate_hz) * 2)):
        came = True
        samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
        yield to_ours.feed(Audio(samples, rate_hz))
    if not came:
        raise MediaError("No sound comes in on standard input. It wants 16-bit little-endian mono samples.")
    yield to_ours.flush()


def _blocks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Whole samples, ``size_bytes`` at a time. Unbuffered, where that can be: a thread that waits within a buffered
    file holds its lock, and Python does not end with it."""
    file, kept = getattr(file, "raw", file), b""
    while raw := file.read(size_bytes - len(kept)):
        kept += raw
        if len(kept) == size_bytes:
            yield kept
            kept = b""
    if len(kept) >= 2:
        yield kept[: len(kept) // 2 * 2]


async def _waited_for(items: Iterator[T]) -> AsyncIterator[T]:
    """``items``, each waited for in a thread that the program does not wait for when it ends: a pipe or a network may
    be silent for ever."""
    loop = asyncio.get_running_loop()
    wanted: SimpleQueue[asyncio.Future[T | None] | None] = SimpleQueue()

    def work() -> None:
        while (future := wanted.get()) is not None:
            try:
                item, error = next(items, None), None
            except Exception as caught:
                item, error = None, caught
            with suppress(RuntimeError):  # the loop is closed: nobody wants it any more
                loop.call_soon_threadsafe(_settle, future, item, error)

    Thread(target=work, name="mmpipe-source", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[T | None] = loop.create_future()
            wanted.put(future)
            if (item := await future) is None:
                return
            yield item
    finally:
        wanted.put(None)


def _settle(future: asyncio.Future[Any], item: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(item)


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
