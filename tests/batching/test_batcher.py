"""When batches run, who is let in, and what is counted."""

from __future__ import annotations

import math
import threading

import pytest

from mmpipe.batching import BatchOptions, Priority
from mmpipe.errors import ClosedError, DeadlineExceededError, ItemTooLargeError, QueueFullError, StageError

BULK = Priority.BULK


# --- the moment ---


def test_the_wait_clock_starts_at_the_first_item_and_later_ones_do_not_restart_it(make, stage, clock):
    batcher = make(stage, max_wait_s=1)
    first = batcher.submit("a")
    clock.settle()
    clock.advance(0.75)
    batcher.submit("b")
    clock.settle()
    clock.advance(0.2)
    clock.settle()
    assert stage.batches == []
    clock.advance(0.05)
    assert first.result(20) == "A"
    assert stage.batches == [["a", "b"]]


def test_each_batch_has_its_own_wait_clock(make, stage, clock):
    batcher = make(stage, max_wait_s=1)
    batcher.submit("a")
    clock.settle()
    clock.advance(1)
    clock.settle()
    clock.advance(0.5)
    batcher.submit("b")
    clock.advance(0.9)
    clock.settle()
    assert stage.batches == [["a"]]


def test_a_batch_that_is_full_in_count_does_not_wait(make, stage):
    batcher = make(stage, max_wait_s=1, max_items=2)
    assert [future.result(20) for future in [batcher.submit("a"), batcher.submit("b")]] == ["A", "B"]
    assert stage.batches == [["a", "b"]]


def test_a_batch_that_is_full_in_cost_does_not_wait(make, stage):
    stage.costs = {"a": 6, "b": 5}
    batcher = make(stage, max_wait_s=1, max_cost=10)
    first, _ = batcher.submit("a"), batcher.submit("b")
    assert first.result(20) == "A"
    assert stage.batches == [["a"]]


def test_the_deferred_item_heads_the_next_batch(busy, stage):
    stage.costs = {"a": 6, "B": 7, "c": 4, "d": 3.5}
    batcher = busy(max_cost=10)
    futures = [batcher.submit(item) for item in ("a", "B", "c", "d")]
    stage.release()
    assert [future.result(20) for future in futures] == ["A", "B", "C", "D"]
    assert stage.batches == [["a", "c"], ["B"], ["d"]]


def test_without_wait_an_item_runs_at_once_and_items_gather_while_the_model_is_busy(busy, stage):
    batcher = busy(max_wait_s=0, max_items=8)
    futures = [batcher.submit(item) for item in "abc"]
    stage.release()
    assert [future.result(20) for future in futures] == ["A", "B", "C"]
    assert stage.batches == [["a", "b", "c"]]


def test_an_idle_batcher_is_not_woken_by_the_clock(make, stage, clock):
    waits = []
    wait = clock.wait
    clock.wait = lambda condition, until_s: (waits.append(until_s), wait(condition, until_s))[1]
    batcher = make(stage, max_wait_s=1)
    batcher.start()
    clock.settle()
    assert set(waits) == {math.inf}
    batcher.submit("a")
    clock.settle()
    assert set(waits) == {math.inf, 1.0}


def test_options_that_cannot_share_a_batch_do_not(busy, stage):
    stage.groups = {"x": "en", "y": "en", "z": "pt"}
    batcher = busy()
    batcher_futures = [batcher.submit(item) for item in "xzy"]
    stage.release()
    assert [future.result(20) for future in batcher_futures] == ["X", "Z", "Y"]
    assert stage.batches == [["x", "y"], ["z"]]


def test_very_different_lengths_do_not_share_a_batch(busy, stage):
    stage.costs = {"a": 1, "b": 30, "c": 2, "d": 28}
    batcher = busy(max_spread=2)
    futures = [batcher.submit(item) for item in "abcd"]
    stage.release()
    assert [future.result(20) for future in futures] == ["A", "B", "C", "D"]
    assert stage.batches == [["a", "c"], ["b", "d"]]


def test_interactive_items_and_other_sessions_do_not_wait_for_a_long_recording(busy, stage):
    batcher = busy(max_items=2)
    futures = [batcher.submit(f"bulk{n}", session="recording", priority=BULK) for n in range(4)]
    futures += [batcher.submit(f"talk{n}", session="talker") for n in range(3)]
    futures += [batcher.submit("word", session="other")]
    stage.release()
    for future in futures:
        future.result(20)
    assert stage.batches == [["talk0", "word"], ["talk1", "talk2"], ["bulk0", "bulk1"], ["bulk2", "bulk3"]]


# --- admission ---


def test_a_full_queue_refuses_at_once_and_says_when_to_retry(busy, stage, clock):
    stage.compute = lambda items: (clock.advance(4), items)[1]
    batcher = busy(max_items=1, max_queue=2)
    batcher.submit("a"), batcher.submit("b")
    with pytest.raises(QueueFullError, match="2 items") as refusal:
        batcher.submit("c")
    assert refusal.value.retry_after_s == 1.0  # nothing measured yet
    stage.step()  # "busy" took 4 s, so each of the two items here will
    batcher.submit("c")
    with pytest.raises(QueueFullError) as refusal:
        batcher.submit("d")
    assert refusal.value.retry_after_s == pytest.approx(4 * 2 / 2)
    assert batcher.stats.refused == 2


def test_bulk_cannot_take_the_room_of_interactive_items(busy):
    batcher = busy(max_queue=1)
    batcher.submit("a", priority=BULK)
    with pytest.raises(QueueFullError, match="bulk queue"):
        batcher.submit("b", priority=BULK)
    batcher.submit("c")


def test_an_item_over_the_budget_of_a_batch_is_refused(make, stage):
    stage.costs = {"long": 11}
    batcher = make(stage, max_cost=10)
    with pytest.raises(ItemTooLargeError, match=r"costs 11.*at most 10"):
        batcher.submit("long")
    assert batcher.stats.refused == 1


@pytest.mark.parametrize("cost", [-1, math.nan, math.inf])
def test_a_cost_that_is_no_number_is_refused(make, stage, cost):
    stage.costs = {"a": cost}
    with pytest.raises(StageError, match="cost"):
        make(stage).submit("a")


def in_thread(function):
    """Runs ``function`` on a thread of its own; gives a call that waits for its outcome."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait():
        thread.join(20)
        assert outcome, "the thread is stuck"
        return outcome[0]

    return wait


def test_a_blocking_submit_waits_for_room(busy, stage, clock):
    batcher = busy(max_queue=1)
    batcher.submit("a")
    late = in_thread(lambda: batcher.submit("b", block=True).result(20))
    clock.settle()  # the submitter waits; the worker is held in the stage
    assert batcher.stats.queued == 1
    stage.release()
    assert late() == "B"
    assert stage.batches == [["a"], ["b"]]


def test_a_cancelled_item_gives_its_room_to_a_blocked_submitter(busy, stage, clock):
    batcher = busy(max_queue=1)
    first = batcher.submit("a")
    late = in_thread(lambda: batcher.submit("b", block=True))
    clock.settle()
    assert first.cancel()
    assert late().cancel()
    assert batcher.stats.queued == 0


def test_a_blocking_submit_gives_up_at_its_deadline(busy, stage, clock):
    batcher = busy(max_queue=1)
    batcher.submit("a")
    late = in_thread(lambda: batcher.submit("b", block=True, deadline_s=3))
    clock.settle()
    clock.advance(3)
    assert isinstance(late(), DeadlineExceededError)


def test_closing_wakes_a_blocked_submitter(busy, stage, clock):
    batcher = busy(max_queue=1)
    batcher.submit("a")
    late = in_thread(lambda: batcher.submit("b", block=True))
    clock.settle()
    closing = in_thread(lambda: batcher.close(drain=False))
    assert isinstance(late(), ClosedError)
    stage.release()
    assert closing() is None


def test_a_callback_never_blocks_the_thread_that_it_waits_for(busy, stage):
    batcher = busy(max_queue=1, max_items=1)
    raised, done = [], threading.Event()

    def submit_more(_):
        try:
            for item in "xyz":
                batcher.submit(item, block=True)
        except QueueFullError as error:
            raised.append(error)
        done.set()

    batcher.submit("a").add_done_callback(submit_more)
    stage.release()
    assert done.wait(20)
    assert len(raised) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"max_items": 0},
        {"max_queue": 0},
        {"max_cost": 0},
        {"max_cost": math.nan},
        {"max_wait_s": -1},
        {"max_wait_s": math.inf},
        {"max_spread": 0.5},
    ],
)
def test_bounds_that_nothing_could_satisfy_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        BatchOptions(**bad)


# --- figures ---


def test_the_figures_add_up(make, stage, clock):
    stage.costs = {"a": 2, "b": 3, "c": 4}
    stage.compute = lambda items: (clock.advance(3), items)[1]
    stage.on_warmup = lambda: clock.advance(100)  # does not count
    batcher = make(stage, max_wait_s=1, max_items=2)
    batcher.start()
    clock.settle()
    a, b = batcher.submit("a"), batcher.submit("b")
    a.result(20), b.result(20)
    clock.settle()
    c = batcher.submit("c")
    clock.settle()
    clock.advance(1)
    c.result(20)
    clock.settle()
    clock.advance(5)
    stats = batcher.stats
    assert (stats.submitted, stats.done, stats.queued, stats.queued_max, stats.running) == (3, 3, 0, 2, 0)
    assert (stats.batches, stats.calls, stats.batched_items, stats.batched_cost) == (2, 2, 3, 9.0)
    assert (stats.wait_s, stats.run_s, stats.uptime_s) == (1.0, 6.0, 12.0)
    assert stats.mean_wait_s == pytest.approx(1 / 3)
    assert (stats.mean_run_s, stats.mean_batch_items, stats.mean_batch_cost, stats.utilization) == (3, 1.5, 4.5, 0.5)
    assert stats.memory_max_cost == math.inf


def test_figures_before_the_first_item_are_zero(make, stage):
    stats = make(stage).stats
    means = (stats.mean_wait_s, stats.mean_run_s, stats.mean_batch_items, stats.mean_batch_cost, stats.utilization)
    assert means == (0, 0, 0, 0, 0)


def test_every_item_is_counted_in_exactly_one_place(busy, stage, clock):
    batcher = busy(max_items=2)
    futures = {item: batcher.submit(item) for item in "abcd"}
    late = batcher.submit("late", deadline_s=1)
    futures["b"].cancel()
    clock.advance(2)
    stats = batcher.stats
    assert (stats.submitted, stats.running, stats.queued, stats.cancelled) == (6, 1, 4, 1)

    def fail_on_c(items):
        if "c" in items:
            raise ValueError
        return items

    stage.compute = fail_on_c
    stage.release()
    futures["d"].result(20)
    assert isinstance(late.exception(20), DeadlineExceededError)
    stats = batcher.stats
    assert (stats.done, stats.failed, stats.cancelled, stats.expired) == (3, 1, 1, 1)
    assert (stats.running, stats.queued) == (0, 0)
