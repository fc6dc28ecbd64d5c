"""Figures of the engines, from snapshots of their batchers."""

from __future__ import annotations

import pytest

from mmpipe.batching import BatcherStats
from mmpipe.demo.measuring import KEPT, Meter, activity, figures


def test_activity_is_what_happened_between_two_snapshots() -> None:
    before = BatcherStats(batches=2, batched_items=4, wait_s=1.0, run_s=3.0)
    after = BatcherStats(batches=4, batched_items=10, wait_s=1.6, run_s=4.0)
    found = activity(before, after, began_s=10.0, ended_s=12.0)
    assert (found.items_per_s, found.batch_items, found.busy) == (3.0, 3.0, 0.5)
    assert found.wait_s == pytest.approx(0.1)


def test_nothing_that_happened_is_no_division_by_zero() -> None:
    stats = BatcherStats(batches=2, batched_items=4, wait_s=1.0, run_s=3.0)
    found = activity(stats, stats, began_s=10.0, ended_s=10.0)
    assert (found.items_per_s, found.batch_items, found.wait_s, found.busy) == (0.0, 0.0, 0.0, 0.0)


def test_a_meter_keeps_the_last_minutes_of_engines_that_come_later_too() -> None:
    meter = Meter()
    for second in range(KEPT + 20):
        stats = {"whisper": BatcherStats(batched_items=second, batches=second)}
        if second > KEPT:
            stats["kokoro"] = BatcherStats(batched_items=2 * second, batches=second)
        meter.sample(float(second), stats)
    history = meter.history()
    assert len(history["whisper"]) == KEPT
    assert {moment.items_per_s for moment in history["whisper"]} == {1.0}
    assert history["kokoro"][-1].batch_items == 2.0


def test_figures_name_engines_that_have_no_history_yet() -> None:
    found = figures(Meter(), {"whisper": BatcherStats(done=3, batches=1, batched_items=3)})
    (engine,) = found["engines"]
    assert (engine["name"], engine["mean_batch_items"], engine["history"]) == ("whisper", 3.0, [])
