"""One bad item fails alone, with its own error; memory that runs out is remembered."""

from __future__ import annotations

import gc
import math
import threading
import weakref

import pytest

from mmpipe.batching.memory import MemoryCeiling
from mmpipe.errors import LanguageError, StageError


def failing_on(*poison, error=ValueError):
    def compute(items):
        for item in items:
            if item in poison:
                raise error(item)
        return [item.upper() for item in items]

    return compute


def outcomes(futures):
    return [type(future.exception(20)).__name__ if future.exception(20) else future.result() for future in futures]


def test_a_poisoned_item_fails_alone_and_its_batch_is_computed(busy, stage):
    stage.compute = failing_on("f")
    batcher = busy(max_items=8)
    futures = [batcher.submit(item) for item in "abcdefgh"]
    stage.release()
    assert outcomes(futures) == ["A", "B", "C", "D", "E", "StageError", "G", "H"]
    assert stage.batches == [list(batch) for batch in ("abcdefgh", "abcd", "efgh", "ef", "e", "f", "gh")]
    stats = batcher.stats
    assert (stats.batches, stats.calls, stats.done, stats.failed) == (2, 8, 8, 1)


def test_several_poisoned_items_each_fail_with_their_own_error(busy, stage):
    stage.compute = failing_on("a", "d")
    batcher = busy()
    futures = [batcher.submit(item) for item in "abcd"]
    stage.release()
    assert outcomes(futures) == ["StageError", "B", "C", "StageError"]
    assert [str(futures[n].exception().__cause__) for n in (0, 3)] == ["a", "d"]


def test_good_halves_are_delivered_before_the_search_for_the_bad_item_ends(busy, stage):
    stage.compute = failing_on("d")
    batcher = busy()
    futures = [batcher.submit(item) for item in "abcd"]
    for _ in range(3):
        stage.step()  # busy, abcd, ab: now in "cd"
    assert futures[0].result(20) == "A"
    assert not futures[2].done()


def test_a_foreign_error_is_wrapped_and_says_which_item_and_why(busy, stage):
    stage.costs, stage.groups = {"a": 2.5}, {"a": "pt"}
    stage.compute = failing_on("a", error=ZeroDivisionError)
    future = busy().submit("a")
    stage.release()
    error = future.exception(20)
    assert str(error) == "'scripted' failed on an item, of cost 2.5, group pt: ZeroDivisionError: a"
    assert isinstance(error, StageError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.__cause__.__traceback__ is not None


def test_an_error_of_ours_reaches_the_caller_as_it_is(busy, stage):
    stage.compute = failing_on("a", error=LanguageError)
    future = busy().submit("a")
    stage.release()
    with pytest.raises(LanguageError, match=r"^a") as raised:
        future.result(20)
    assert raised.value.__notes__ == ["(from 'scripted', for an item of cost 1, group None)"]


class Panic(BaseException):
    """As Rust extensions raise."""


def test_the_thread_survives_what_is_not_even_an_exception(busy, stage):
    stage.compute = failing_on("a", "b", error=Panic)
    batcher = busy()
    futures = [batcher.submit(item) for item in "abc"]
    stage.release()
    assert outcomes(futures) == ["StageError", "StageError", "C"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda items: items[:-1], "gave 0 results for 1 items"),
        (lambda items: [*items, "more"], "gave 2 results for 1 items"),
        (lambda items: None, "'NoneType' object is not iterable"),
    ],
)
def test_a_wrong_number_of_results_is_nobodys_result(busy, stage, answer, message):
    batcher = busy()
    stage.compute = answer
    futures = [batcher.submit("a"), batcher.submit("b")]
    stage.release()
    for future in futures:
        with pytest.raises(StageError, match=message):
            future.result(20)


def test_an_item_that_spoils_the_number_of_results_fails_alone(busy, stage):
    stage.compute = lambda items: [item.upper() for item in items if item != "b"]
    batcher = busy()
    futures = [batcher.submit(item) for item in "abc"]
    stage.release()
    assert outcomes(futures) == ["A", "StageError", "C"]


def test_cancelled_and_late_items_are_left_out_of_the_halves(busy, stage, clock):
    stage.compute = failing_on("a")
    batcher = busy()
    futures = [batcher.submit(item, deadline_s=9 if item == "d" else None) for item in "abcdef"]
    stage.step()  # all six are in the stage
    assert futures[4].cancel()
    clock.advance(9)
    stage.release()
    assert outcomes(futures[:4]) == ["StageError", "B", "C", "DeadlineExceededError"]
    assert futures[5].result(20) == "F"
    assert stage.batches == [list(batch) for batch in ("abcdef", "abc", "a", "bc", "f")]
    assert batcher.stats.queued == 0


# --- memory ---


def limited_to(most, error=MemoryError):
    def compute(items):
        if len(items) > most:
            raise error
        return [item.upper() for item in items]

    return compute


class OutOfMemoryError(RuntimeError):
    """Named like PyTorch's."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA failed with error out of memory"),  # CTranslate2
        RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 939524096"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_running_out_of_memory_halves_the_batch_and_remembers_the_size(busy, stage, error):
    stage.compute = limited_to(4, error)
    batcher = busy(max_items=16)
    futures = [batcher.submit(item) for item in "abcdefghijklmnopqrstuvwx"]
    stage.release()
    assert outcomes(futures) == list("ABCDEFGHIJKLMNOPQRSTUVWX")
    assert [len(batch) for batch in stage.batches] == [16, 8, 4, 4, 8, 4, 4, 4, 4]  # the last 8 were not tried at once
    assert batcher.stats.memory_max_cost == 4


def test_a_remembered_size_is_outgrown_after_many_batches_that_fit(busy, stage):
    stage.compute = limited_to(4)
    batcher = busy(max_items=8, max_queue=1000)
    futures = [batcher.submit(str(n)) for n in range(8 + 4 * (MemoryCeiling.GROW_AFTER + 9))]
    stage.release()
    outcomes(futures)
    sizes = [len(batch) for batch in stage.batches]
    assert sizes[:3] == [8, 4, 4]
    assert sizes.count(5) == 1  # tried once, in vain
    assert batcher.stats.memory_max_cost == 4


def test_an_error_caused_by_lack_of_memory_counts_as_such(busy, stage):
    def compute(items):
        try:
            return limited_to(1)(items)
        except MemoryError as error:
            raise StageError("decoding failed") from error

    stage.compute = compute
    batcher = busy()
    futures = [batcher.submit(item) for item in "ab"]
    stage.release()
    assert outcomes(futures) == ["A", "B"]
    assert batcher.stats.memory_max_cost == 1


def test_any_other_failure_leaves_the_size_alone(busy, stage):
    stage.compute = failing_on("a")
    batcher = busy()
    futures = [batcher.submit(item) for item in "ab"]
    stage.release()
    outcomes(futures)
    assert batcher.stats.memory_max_cost == math.inf


def test_a_single_item_that_does_not_fit_fails_and_says_what_to_do(busy, stage):
    stage.compute = limited_to(0)
    batcher = busy()
    future = batcher.submit("a")
    stage.release()
    with pytest.raises(StageError, match=r"out of memory on a single item, of cost 1: MemoryError.*Cut the item"):
        future.result(20)
    assert batcher.stats.memory_max_cost == math.inf


def test_what_the_failed_attempt_held_is_free_before_the_halves_are_tried(busy, stage):
    class Tensor:
        pass

    alive_at_start = []
    made = []

    def compute(items):
        alive_at_start.append(sum(tensor() is not None for tensor in made))
        activation = Tensor()  # referred to by this frame, and thus by the traceback of the error
        made.append(weakref.ref(activation))
        return limited_to(1)(items)

    stage.compute = compute
    batcher = busy()
    futures = [batcher.submit(item) for item in "abcd"]
    gc.disable()
    try:
        stage.release()
        assert outcomes(futures) == ["A", "B", "C", "D"]
    finally:
        gc.enable()
    assert alive_at_start == [0] * 8


def test_the_ceiling_halves_at_once_and_grows_slowly():
    ceiling = MemoryCeiling()
    ceiling.failed(100)
    assert ceiling.max_cost == 50
    ceiling.failed(200)  # a sibling half that had been cut before
    assert ceiling.max_cost == 50
    for _ in range(1000):
        ceiling.succeeded(25)  # small batches say nothing
    assert ceiling.max_cost == 50
    for _ in range(MemoryCeiling.GROW_AFTER - 1):
        ceiling.succeeded(40)
    assert ceiling.max_cost == 50
    ceiling.succeeded(40)
    assert ceiling.max_cost == 62.5


def test_a_failed_attempt_at_more_falls_back_to_what_has_fitted():
    ceiling = MemoryCeiling()
    ceiling.failed(100)
    for _ in range(MemoryCeiling.GROW_AFTER):
        ceiling.succeeded(50)
    ceiling.failed(60)
    assert ceiling.max_cost == 50
    for _ in range(MemoryCeiling.GROW_AFTER - 1):
        ceiling.succeeded(50)
    ceiling.failed(50)  # less memory than before: what has fitted does not any more
    assert ceiling.max_cost == 25
    ceiling.succeeded(25)
    assert ceiling.max_cost == 25  # the count of successes began anew


# --- warm-up ---


@pytest.mark.parametrize("error", [RuntimeError("no kernel"), LanguageError("no kernel"), Panic("no kernel")])
def test_a_failing_warm_up_surfaces_on_every_item(make, stage, error, caplog):
    submitted = threading.Event()

    def fail():
        assert submitted.wait(20)
        raise error

    stage.on_warmup = fail
    batcher = make(stage, max_wait_s=0)
    futures = [batcher.submit(item) for item in "abc"]
    submitted.set()
    errors = [future.exception(20) for future in futures]
    for each in errors:
        assert isinstance(each, StageError)
        assert str(each) == f"'scripted' could not warm up and computes nothing: {type(error).__name__}: no kernel"
        assert each.__cause__ is error
    assert len({id(each) for each in errors}) == 3  # tracebacks do not pile up in one instance
    assert isinstance(batcher.submit("later").exception(20), StageError)
    assert stage.batches == []
    assert stage.warmups == 1
    assert "could not warm up" in caplog.text
    assert "halves" not in caplog.text  # no bad item to look for
