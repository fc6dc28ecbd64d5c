"""What callers get: futures, lists, lazy maps; stages of any kind."""

from __future__ import annotations

import itertools
import signal
import threading

import pytest

from mmpipe.batching import Batcher, Priority
from mmpipe.errors import StageError

BULK = Priority.BULK


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

    class InterruptedEvent(BaseException):
        """Stands for KeyboardInterrupt at a place of our choosing."""

    def items():
        yield "a"
        raise InterruptedEvent

    with pytest.raises(InterruptedEvent):
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
