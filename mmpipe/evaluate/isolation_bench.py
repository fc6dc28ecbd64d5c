"""What it costs to decode in a process of its own: the same files in this process and apart, taking turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mmpipe import untrusted
from mmpipe.audio import media
from mmpipe.serve.encoder import PacketEncoder
from mmpipe.serve.packets import PacketDecoder, SoundFormat
from mmpipe.untrusted import UntrustedImage, UntrustedMedia
from mmpipe.vision import images


def isolation(recording: Path, picture: Path, runs: int) -> Iterator[dict[str, Any]]:
    """Milliseconds of each way: median, and the largest.

    Args:
        recording: about half a minute of sound.
        picture: a photograph.
        runs: times each way is gone.
    """
    sound, image = UntrustedMedia(recording, recording.name), UntrustedImage(picture, picture.name)
    media.probe(sound)  # the process that others are forked from is there
    for what, here, apart in (
        ("headers of a recording", lambda: media.probe(recording), lambda: media.probe(sound)),
        ("its first 4 s", lambda: next(media.stream(recording)), lambda: next(media.stream(sound))),
        ("all of it", lambda: media.load(recording), lambda: media.load(sound)),
        ("a photograph", lambda: images.load(picture), lambda: images.load(image)),
    ):
        times_ms = [(_ms(here), _ms(apart)) for _ in range(runs)]
        (in_process, isolated) = zip(*times_ms, strict=True)
        yield {
            "what": what,
            "in process, ms": round(median(in_process), 1),
            "in a process of its own, ms": round(median(isolated), 1),
            "largest, ms": round(max(isolated), 1),
            "costs, ms": round(median(apart_ms - here_ms for here_ms, apart_ms in times_ms), 1),
        }
    packet_ms = asyncio.run(_opus_ms(runs))
    yield {"what": "an Opus packet of a live session", "in a process of its own, ms": round(packet_ms, 2)}
    untrusted.close()


def _ms(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) * 1e3


async def _opus_ms(runs: int) -> float:
    tone = np.sin(np.arange(48_000) / 20).astype(np.float32)
    packets = [packet for _ in range(runs) for packet in PacketEncoder(SoundFormat("opus", 48_000)).feed(tone)]
    decoder = PacketDecoder(SoundFormat("opus"))
    times_ms = []
    try:
        for packet in packets:
            began_s = time.perf_counter()
            await decoder.decoded(packet)
            times_ms.append((time.perf_counter() - began_s) * 1e3)
    finally:
        decoder.close()
    return median(times_ms)
