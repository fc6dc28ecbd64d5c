"""Replay recordings into live sessions at the pace of a microphone, and log every event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from pathlib import Path
from typing import IO

from mmpipe.files import writing
from mmpipe.pipelines.live import LiveModels, LiveOptions, LiveSession
from mmpipe.pipelines.live.sources import BLOCK_S
from mmpipe.types import Audio

#: How often a replay that leaves out idle time looks whether the sessions have become idle.
LOOK_S = 0.002


class Pace(StrEnum):
    """How the time of a replay runs."""

    REAL = "real"  # as the clock on the wall
    #: As on the wall while anything is computed; where every session only waits for sound, on to the next block at
    #: once. Delays are those of the real pace, in a fraction of the time.
    BUSY = "busy"
    #: Computing takes no time: every session is done with a block before the next one comes. Delays are those of the
    #: policy alone, the same on any machine.
    VIRTUAL = "virtual"


class ReplayClock:
    """Real time that can be set forward, or stands still but for that."""

    def __init__(self, *, stands_still: bool = False) -> None:
        self._stands_still = stands_still
        self._forward_s = 0.0

    def now_s(self) -> float:
        return self._forward_s + (0.0 if self._stands_still else time.monotonic())

    def forward(self, by_s: float) -> None:
        self._forward_s += by_s

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        condition.wait(min(max(until_s - self.now_s(), 0.0), threading.TIMEOUT_MAX))


@dataclass(frozen=True, slots=True)
class Replay:
    """How recordings are replayed."""

    pace: Pace = Pace.REAL
    #: Called about once a second of sound, with the seconds replayed so far.
    each_second: Callable[[float], None] = lambda at_s: None


def replay(
    models: LiveModels,
    options: LiveOptions,
    recordings: Sequence[Audio],
    logs: Sequence[Path],
    how: Replay | None = None,
) -> None:
    """One session for each of ``recordings`` (16 kHz), all at the same time; its events go into its log as JSON lines.

    Sessions begin spread over one block of sound, so that they are not in step.

    Raises:
        OutputError: a log cannot be written.
    """
    asyncio.run(_replay(models, options, recordings, logs, how or Replay()))


async def _replay(
    models: LiveModels, options: LiveOptions, recordings: Sequence[Audio], logs: Sequence[Path], how: Replay
) -> None:
    clock = ReplayClock(stands_still=how.pace is Pace.VIRTUAL)
    sessions = [LiveSession(models, options, clock, name=f"replay {n}") for n in range(len(recordings))]
    logging = [asyncio.create_task(_log(session, path)) for session, path in zip(sessions, logs, strict=True)]
    began_s = clock.now_s()
    second = 0
    for due_s, n, block in merge(*(_blocks(audio, n, len(recordings)) for n, audio in enumerate(recordings))):
        while (early_s := began_s + due_s - clock.now_s()) > 0:
            if how.pace is Pace.REAL:
                await asyncio.sleep(early_s)
            elif all(session.idle for session in sessions):
                clock.forward(early_s)
            else:
                await asyncio.sleep(LOOK_S)
        if block is None:
            sessions[n].finish()
        else:
            sessions[n].push(block.samples)
        await asyncio.sleep(0)  # let the session see it before anything else comes
        if due_s >= second:
            how.each_second(due_s)
            second += 1
    await asyncio.gather(*logging)


def _blocks(audio: Audio, n: int, of: int) -> Iterator[tuple[float, int, Audio | None]]:
    """The blocks of recording ``n``, when each is due and None at the end."""
    shift_s = BLOCK_S * n / of
    count = -(-len(audio.samples) // round(BLOCK_S * audio.rate_hz))
    for k in range(count):
        yield shift_s + (k + 1) * BLOCK_S, n, audio.slice(k * BLOCK_S, (k + 1) * BLOCK_S)
    yield shift_s + (count + 1) * BLOCK_S, n, None


async def _log(session: LiveSession, path: Path) -> None:
    with writing(path):
        file: IO[str]
        with path.open("w", encoding="utf-8") as file:
            async for event in session.events():
                file.write(json.dumps(event.as_dict(), ensure_ascii=False) + "\n")
