"""Items that are no longer wanted: cancelled, late, or pending when the batcher closes."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from mmpipe.batching import Batcher, BatchOptions, Device
from mmpipe.errors import ClosedError, DeadlineExceededError


def test_a_cancelled_item_is_dropped_before_it_runs(busy, stage):
    batcher = busy()
    futures = [batcher.submit(item) for item in "abc"]
    assert futures[1].cancel()
    assert futures[1].cancel()  # as the standard library has it
    stage.release()
    assert (futures[0].result(20), futures[2].result(20)) == ("A", "C")
    assert stage.batches == [["a", "c"]]
    with pytest.raises(concurrent.futures.CancelledError):
        futures[1].result(20)


def test_whoever_waits_for_a_cancelled_future_is_told_at_once(busy):
    future = busy().submit("a")
    future.cancel()
    done, _ = concurrent.futures.wait([future], timeout=20)
    assert done == {future}


def test_an_item_cancelled_while_it_is_computed_frees_its_caller_and_spares_the_others(busy, stage):
    batcher = busy()
    futures = [batcher.submit(item) for item in "ab"]
    stage.step()
    assert futures[0].cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        futures[0].result(20)
    stage.release()
    assert futures[1].result(20) == "B"
    assert batcher.stats.cancelled == 1


def test_a_finished_item_cannot_be_cancelled(make, stage):
    future = make(stage, max_wait_s=0).submit("a")
    future.result(20)
    assert not future.cancel()
    assert future.result() == "A"


def test_the_wait_clock_is_that_of_the_first_item_that_is_still_wanted(make, stage, clock):
    batcher = make(stage, max_wait_s=1)
    first = batcher.submit("a")
    clock.settle()
    clock.advance(0.5)
    batcher.submit("b")
    first.cancel()
    clock.settle()
    clock.advance(0.5)
    clock.settle()
    assert stage.batches == []
    clock.advance(0.5)
    clock.settle()
    assert stage.batches == [["b"]]


def test_an_item_past_its_deadline_is_not_computed(busy, stage, clock):
    batcher = busy()
    late, on_time = batcher.submit("a", deadline_s=1), batcher.submit("b", deadline_s=1.01)
    clock.advance(1)
    stage.release()
    with pytest.raises(DeadlineExceededError, match="not computed"):
        late.result(20)
    assert on_time.result(20) == "B"
    assert stage.batches == [["b"]]
    assert batcher.stats.expired == 1


def test_waiting_for_company_does_not_eat_up_a_deadline(make, stage, clock):
    batcher = make(stage, max_wait_s=10)
    future = batcher.submit("a", deadline_s=4)
    clock.settle()
    clock.advance(2)
    assert future.result(20) == "A"


def test_a_deadline_that_passes_while_another_stage_has_the_device_counts(make, stage, clock):
    device = Device()
    batcher = make(stage, max_wait_s=0, device=device)
    batcher.start()
    clock.settle()  # warmed up
    with device:  # the worker may be waiting for an item or, already, for the device
        future = batcher.submit("a", deadline_s=1)
        clock.advance(1)
    assert isinstance(future.exception(20), DeadlineExceededError)
    assert stage.batches == []


# --- closing ---


def closing(batcher, **how):
    thread = threading.Thread(target=lambda: batcher.close(**how), daemon=True)
    thread.start()
    return thread


def finish(*threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "close() is stuck"


def test_closing_while_busy_finishes_everything_that_was_accepted(busy, stage):
    batcher = busy(max_items=2, max_wait_s=100)
    futures = [batcher.submit(item) for item in "abc"]
    thread = closing(batcher)
    stage.release()
    finish(thread)
    assert [future.result(0) for future in futures] == ["A", "B", "C"]
    assert stage.batches == [["a", "b"], ["c"]]  # nobody waits for company any more


def test_closing_without_draining_fails_what_is_pending_but_not_what_is_running(busy, stage):
    batcher = busy(max_items=1)
    running = batcher.submit("a")
    stage.step()
    pending = batcher.submit("b")
    thread = closing(batcher, drain=False)
    with pytest.raises(ClosedError):
        pending.result(20)
    assert not running.done()
    stage.release()
    finish(thread)
    assert running.result(0) == "A"
    assert batcher.stats.cancelled == 1


def test_a_second_close_may_cut_a_draining_one_short(busy, stage):
    batcher = busy(max_items=1)
    future = batcher.submit("a")
    threads = [closing(batcher, drain=True), closing(batcher, drain=False)]
    assert isinstance(future.exception(20), ClosedError)
    stage.release()
    finish(*threads)
    batcher.close()
    assert stage.batches == []


def test_a_closed_batcher_takes_nothing_more(make, stage):
    batcher = make(stage)
    batcher.close()
    for attempt in (lambda: batcher.submit("a"), lambda: batcher.run("ab"), batcher.start):
        with pytest.raises(ClosedError, match="is closed"):
            attempt()


def test_a_batcher_may_be_closed_from_its_own_thread(make, stage):
    batcher = make(stage, max_wait_s=0)
    closed = threading.Event()
    batcher.submit("a").add_done_callback(lambda _: (batcher.close(), closed.set()))
    assert closed.wait(20)
    with pytest.raises(ClosedError):
        batcher.submit("b")


def test_closing_twice_at_once_from_many_threads(busy, stage):
    batcher = busy()
    future = batcher.submit("a")
    threads = [closing(batcher) for _ in range(8)]
    stage.release()
    finish(*threads)
    assert future.result(0) == "A"


@pytest.mark.parametrize("used", [True, False])
def test_the_stage_is_closed_only_if_the_batcher_owns_it(make, stage, used):
    for owns_stage in (False, True):
        batcher = make(stage, owns_stage=owns_stage, max_wait_s=0)
        if used:
            batcher.run("a")
        batcher.close()
        assert stage.closed == owns_stage


def test_with_drains(stage):
    with Batcher(stage, BatchOptions(max_wait_s=100, max_items=4)) as batcher:
        futures = [batcher.submit(item) for item in "abc"]
    assert [future.result(0) for future in futures] == ["A", "B", "C"]


def test_with_drops_what_is_pending_when_its_body_fails(stage):
    futures = []

    def body():
        with Batcher(stage, BatchOptions(max_wait_s=0, max_items=1)) as batcher:
            stage.hold()
            futures.append(batcher.submit("a"))
            stage.wait_for_call()
            futures.append(batcher.submit("b"))
            futures[1].add_done_callback(lambda _: stage.release())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert futures[0].result(0) == "A"
    assert isinstance(futures[1].exception(0), ClosedError)


def test_a_thread_that_breaks_leaves_nobody_waiting(busy, stage, monkeypatch):
    escaped = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: escaped.append(hook.exc_type))
    batcher = busy(max_items=2)
    first, same_batch, queued = [batcher.submit(item) for item in "abc"]

    def raise_exit(_):
        raise SystemExit  # passes through concurrent.futures, unlike an Exception

    first.add_done_callback(raise_exit)
    stage.release()
    assert first.result(20) == "A"
    assert isinstance(same_batch.exception(20), ClosedError)
    assert isinstance(queued.exception(20), ClosedError)
    with pytest.raises(ClosedError):
        batcher.submit("d")
    batcher.close()
    assert escaped == [SystemExit]
