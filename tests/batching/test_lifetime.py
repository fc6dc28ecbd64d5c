"""What stays alive, and for how long: items, results, models, threads, processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from mmpipe.batching import Batcher, BatchOptions
from mmpipe.errors import StageError


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
    batcher = Batcher(model, BatchOptions(max_wait_s=0))
    futures = [batcher.submit("a"), batcher.submit("b")]
    futures[0].result(20)
    futures[1].cancel()
    batcher.close()
    model_alive = weakref.ref(model)
    del model, batcher
    gc.collect()
    assert model_alive() is None


def test_a_dropped_batcher_finishes_what_it_was_given_and_ends_its_thread(stage):
    batcher = Batcher(stage, BatchOptions(max_wait_s=0, max_items=1))
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
from mmpipe.errors import ClosedError
batcher = Batcher(lambda items: items)
batcher.run([1])
child = os.fork()
if not child:
    try:
        batcher.submit(1)
    except ClosedError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("7\n", "")
