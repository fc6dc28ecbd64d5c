"""When batches run, who is let in, and what callers get."""

from __future__ import annotations

import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from mmpipe.batching import Batcher, BatchSettings, Priority
from mmpipe.errors import BatcherClosedError, DeadlineExceededError, ItemTooLargeError, QueueFullError, StageError

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
    assert isinstance(late(), BatcherClosedError)
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
        BatchSettings(**bad)


# --- callers ---


def test_map_is_lazy_bounded_and_in_order(make, stage):
    stage.costs = {str(n): 1 + n % 7 for n in range(1000)}  # other items overtake within batches
    taken = []
    numbers = (taken.append(n) or str(n) for n in itertools.count())
    results = make(stage, max_wait_s=0, max_items=4, max_queue=3).map(numbers, priority=BULK)
    assert taken == []
    assert list(itertools.islice(results, 100)) == [str(n) for n in range(100)]
    assert len(taken) <= 100 + 4 * 4
    results.close()


def test_map_cancels_what_is_on_its_way_when_it_is_dropped_or_fails(busy, stage):
    def fail(items):
        if "2" in items:
            raise ValueError("two")
        return items

    stage.compute = fail
    batcher = busy(max_items=1)
    results = batcher.map("0123456")
    stage.release()
    assert [next(results), next(results)] == ["0", "1"]
    stage.hold()
    with pytest.raises(StageError, match="two"):
        next(results)
    assert batcher.stats.queued == 0
    with pytest.raises(StopIteration):
        next(results)


def test_run_is_a_batched_stage_run(make, stage):
    assert make(stage, max_wait_s=0).run(["a", "b", "c"]) == ["A", "B", "C"]
    assert make(stage).run([]) == []


def test_an_interrupted_run_leaves_nothing_behind_and_wedges_nothing(busy, stage):
    batcher = busy(max_items=1)

    class Interrupted(BaseException):
        """Stands for KeyboardInterrupt at a place of our choosing."""

    def items():
        yield "a"
        raise Interrupted

    with pytest.raises(Interrupted):
        batcher.run(items())
    assert batcher.stats.queued == 0
    stage.release()
    assert batcher.run("b") == ["B"]
    assert stage.batches == [["b"]]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_ctrl_c_in_a_waiting_caller_wedges_nothing(make, stage):
    handled = threading.Event()

    def press_ctrl_c(items):
        if items == ["a"]:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert handled.wait(20)
        return items

    batcher = make(press_ctrl_c, max_wait_s=0, max_items=1)
    with pytest.raises(KeyboardInterrupt):
        batcher.run(["a", "never computed"])
    handled.set()
    assert batcher.run("b") == ["b"]
    assert (batcher.stats.queued, batcher.stats.running) == (0, 0)


def test_a_plain_function_is_a_stage(make):
    def double(numbers):
        return [2 * number for number in numbers]

    assert make(double, max_wait_s=0).run(range(5)) == [0, 2, 4, 6, 8]
    assert make(lambda numbers: (2 * number for number in numbers), max_wait_s=0).run(range(3)) == [0, 2, 4]


def test_what_is_neither_stage_nor_function_is_refused():
    with pytest.raises(TypeError, match="function of a list, not int"):
        Batcher(3)


def test_the_stage_runs_on_one_thread_of_its_own_and_warms_up_there_first(make, stage):
    order = []
    stage.on_warmup = lambda: order.append("warm-up")
    stage.compute = lambda items: order.append("run") or items
    batcher = make(stage, max_wait_s=0, owns_stage=True)
    batcher.run("ab")
    batcher.run("cd")
    batcher.close()
    assert order[0] == "warm-up"
    assert set(order[1:]) == {"run"}
    assert (stage.warmups, stage.closed) == (1, 1)
    assert stage.threads == {"mmpipe-scripted"}


def test_start_warms_up_before_any_item(make, stage, clock):
    make(stage).start()
    clock.settle()
    assert stage.warmups == 1
    assert stage.batches == []


# --- figures ---


def test_the_figures_add_up(make, stage, clock):
    stage.costs = {"a": 2, "b": 3, "c": 4}
    stage.compute = lambda items: (clock.advance(3), items)[1]
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
    assert (stats.mean_run_s, stats.mean_batch_items, stats.mean_batch_cost, stats.utilisation) == (3, 1.5, 4.5, 0.5)
    assert stats.memory_max_cost == math.inf


def test_figures_before_the_first_item_are_zero(make, stage):
    stats = make(stage).stats
    means = (stats.mean_wait_s, stats.mean_run_s, stats.mean_batch_items, stats.mean_batch_cost, stats.utilisation)
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


# --- memory and threads ---


class Blob:
    """Something that can be watched."""


def test_an_idle_batcher_keeps_neither_items_nor_results_alive(make, clock):
    gc.disable()  # so that nothing but the references themselves can free them
    try:
        batcher = make(lambda items: [Blob() for _ in items], max_wait_s=0)
        item = Blob()
        future = batcher.submit(item)
        result = future.result(20)
        clock.settle()
        item, result_alive, item_alive = None, weakref.ref(result), weakref.ref(item)
        assert item_alive() is None  # although its future is still held
        future = result = None
        assert result_alive() is None
    finally:
        gc.enable()


def test_a_failed_item_is_freed_with_its_error(make, clock, caplog):
    def fail(items):
        raise ValueError

    gc.disable()
    try:
        batcher = make(fail, max_wait_s=0)
        item = Blob()
        future = batcher.submit(item)
        assert isinstance(future.exception(20), StageError)
        clock.settle()
        item, item_alive = None, weakref.ref(item)
        assert item_alive() is not None  # its traceback has it
        future = None
        assert item_alive() is None
    finally:
        gc.enable()


def test_a_kept_future_does_not_keep_the_model_alive(make, stage):
    model = type(stage)()
    batcher = Batcher(model, BatchSettings(max_wait_s=0))
    futures = [batcher.submit("a"), batcher.submit("b")]
    futures[0].result(20)
    futures[1].cancel()
    batcher.close()
    model_alive = weakref.ref(model)
    del model, batcher
    gc.collect()
    assert model_alive() is None


def test_a_dropped_batcher_finishes_what_it_was_given_and_ends_its_thread(stage):
    batcher = Batcher(stage, BatchSettings(max_wait_s=0))
    stage.hold()
    futures = [batcher.submit("a"), batcher.submit("b")]
    stage.wait_for_call()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "mmpipe-scripted")
    del batcher
    stage.release()
    assert [future.result(20) for future in futures] == ["A", "B"]
    thread.join(20)
    assert not thread.is_alive()


def test_a_process_can_exit_while_a_batch_is_running():
    code = """
import threading
from mmpipe.batching import Batcher
started, events = threading.Event(), []
def slow(items):
    started.set()
    main = threading.main_thread()
    main.join()  # until the interpreter is on its way out
    print("finished", flush=True)
    return items
batcher = Batcher(slow)
running = batcher.submit(1)
started.wait()
waiting = batcher.submit(2)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "finished\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_to_make_its_own_batcher():
    code = """
import os
from mmpipe.batching import Batcher
from mmpipe.errors import BatcherClosedError
batcher = Batcher(lambda items: items)
batcher.run([1])
child = os.fork()
if not child:
    try:
        batcher.submit(1)
    except BatcherClosedError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("7\n", "")
