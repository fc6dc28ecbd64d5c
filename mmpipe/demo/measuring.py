"""What the engines do, second by second, for the plots."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import psutil

from mmpipe.batching import BatcherStats

SAMPLE_EVERY_S = 2.0
#: Five minutes.
KEPT = 150


@dataclass(frozen=True, slots=True)
class Activity:
    """What one engine did between two samples."""

    ended_s: float  # by the clock of the samples
    items_per_s: float
    batch_items: float  # mean size of the batches; 0: there were none
    wait_s: float  # mean of an item, before its batch began
    busy: float  # part of the time that it computed, 0..1


def activity(before: BatcherStats, after: BatcherStats, began_s: float, ended_s: float) -> Activity:
    """What happened between two snapshots of a batcher."""
    elapsed_s = max(ended_s - began_s, 1e-3)
    items, batches = after.batched_items - before.batched_items, after.batches - before.batches
    return Activity(
        ended_s=ended_s,
        items_per_s=items / elapsed_s,
        batch_items=items / batches if batches else 0.0,
        wait_s=(after.wait_s - before.wait_s) / items if items else 0.0,
        busy=min(1.0, (after.run_s - before.run_s) / elapsed_s),
    )


class Meter:
    """The last minutes of every engine."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, BatcherStats]]] = deque(maxlen=KEPT + 1)

    def sample(self, now_s: float, stats: Mapping[str, BatcherStats]) -> None:
        """Note a snapshot; to be called every :data:`SAMPLE_EVERY_S`."""
        self._samples.append((now_s, stats))

    def history(self) -> dict[str, list[Activity]]:
        """By the name of the engine, oldest first."""
        found: dict[str, list[Activity]] = {}
        for (began_s, before), (ended_s, after) in pairwise(self._samples):
            for name, now in after.items():
                found.setdefault(name, []).append(activity(before.get(name, BatcherStats()), now, began_s, ended_s))
        return found


def figures(meter: Meter, stats: Mapping[str, BatcherStats]) -> dict[str, Any]:
    """What the tab draws its plots of, as JSON types."""
    history = meter.history()
    return {
        "every_s": SAMPLE_EVERY_S,
        "engines": [
            {
                "name": name,
                "done": found.done,
                "failed": found.failed,
                "batches": found.batches,
                "mean_batch_items": found.mean_batch_items,
                "mean_wait_s": found.mean_wait_s,
                "mean_run_s": found.mean_run_s,
                "history": [asdict(moment) for moment in history.get(name, [])],
            }
            for name, found in stats.items()
        ],
    }


def machine() -> dict[str, Any]:
    """What it all runs on, and how much memory it takes."""
    memory = psutil.virtual_memory()
    return {
        "device": _device(),
        "cores": os.cpu_count() or 1,
        "resident_bytes": psutil.Process().memory_info().rss,
        "memory_bytes": memory.total,
        "free_bytes": memory.available,
    }


def _device() -> str:
    import ctranslate2

    return "GPU" if ctranslate2.get_cuda_device_count() else "CPU"
