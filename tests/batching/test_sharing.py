"""Stages that share a device, and many callers at once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from hashlib import sha256

import pytest

from mmpipe.batching import Batcher, BatchOptions, Device, Priority
from mmpipe.errors import DeadlineExceededError, QueueFullError, StageError
from mmpipe.stage import Stage


class WatchedDevice(Device):
    """Tells when somebody asks for it."""

    def __init__(self):
        super().__init__()
        self.asked = threading.Semaphore(0)

    def __enter__(self):
        self.asked.release()
        super().__enter__()

    def wait_until_asked(self):
        assert self.asked.acquire(timeout=20), "nobody asked for the device"


def test_stages_on_one_device_never_compute_at_the_same_time():
    alone = threading.Lock()
    data = bytes(200_000)

    def compute(items):
        assert alone.acquire(blocking=False)
        sha256(data)  # lets go of the interpreter lock, as models do
        alone.release()
        return [-item for item in items]

    device = Device()
    batchers = [Batcher(compute, BatchOptions(max_wait_s=0, max_items=2), device=device) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda batcher: batcher.run(range(50)), batchers))
    for batcher in batchers:
        batcher.close()
    assert results == [[-n for n in range(50)]] * 4


def test_the_device_goes_to_whoever_has_waited_longest():
    queued = threading.Semaphore(0)

    class Watched(deque):
        def append(self, turn):
            super().append(turn)
            queued.release()

    device = Device()
    device._waiting = Watched()
    order = []
    threads = []

    def take(number):
        with device:
            order.append(number)

    with device:
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,), daemon=True))
            threads[-1].start()
            assert queued.acquire(timeout=20)
    for thread in threads:
        thread.join(20)
    assert order == [0, 1, 2, 3, 4]


def test_a_device_is_free_again_after_an_error():
    device = Device()
    with pytest.raises(ZeroDivisionError), device:
        raise ZeroDivisionError
    with device:
        pass


def test_items_gather_while_another_stage_has_the_device(make, stage):
    device = WatchedDevice()
    batcher = make(stage, max_wait_s=0, device=device)
    batcher.start()
    device.wait_until_asked()  # for the warm-up
    with device:
        device.wait_until_asked()  # by this test
        futures = [batcher.submit("a")]
        device.wait_until_asked()  # for "a"
        futures += [batcher.submit("b"), batcher.submit("c")]
    assert [future.result(20) for future in futures] == ["A", "B", "C"]
    assert stage.batches == [["a", "b", "c"]]


def test_the_warm_up_takes_its_turn_on_the_device(make, stage):
    device = WatchedDevice()
    with device:
        device.wait_until_asked()  # by this test
        make(stage, device=device).start()
        device.wait_until_asked()
        assert stage.warmups == 0


class Sums(Stage[tuple[int, ...], int]):
    """Sums tuples, fails on negative numbers, and cannot hold more than 40 numbers at a time."""

    name = "sums"

    def __init__(self):
        self.inside = threading.Lock()

    def cost(self, item):
        return float(len(item))

    def group(self, item):
        return item[0] % 3

    def run(self, items):
        assert self.inside.acquire(blocking=False), "called from two threads at a time"
        try:
            if sum(map(len, items)) > 40:
                raise MemoryError
            assert len({item[0] % 3 for item in items}) == 1
            if any(min(item) < 0 for item in items):
                raise ArithmeticError("negative")
            return [sum(item) for item in items]
        finally:
            self.inside.release()


def random_item(rng):
    item = tuple(rng.randrange(1000) for _ in range(rng.randrange(1, 30)))
    return (*item, -1) if rng.random() < 0.05 else item


def test_many_threads_and_an_event_loop_get_the_truth():
    batcher = Batcher(Sums(), BatchOptions(max_items=8, max_cost=100, max_wait_s=0.0005, max_queue=32))
    truths = []  # (item, outcome)
    refused = []

    def check(item, future):
        try:
            outcome = future.result(60)
        except (StageError, CancelledError, DeadlineExceededError) as error:
            outcome = error
        truths.append((item, outcome))

    def caller(seed):
        rng = random.Random(seed)
        pending = []
        for _ in range(150):
            item = random_item(rng)
            try:
                future = batcher.submit(
                    item,
                    session=seed,
                    priority=rng.choice(list(Priority)),
                    deadline_s=rng.choice([None, None, 0.001, 5.0]),
                    block=rng.random() < 0.8,
                )
            except (QueueFullError, DeadlineExceededError) as error:
                refused.append(error)
                continue
            if rng.random() < 0.1:
                future.cancel()
            pending.append((item, future))
            if len(pending) > rng.randrange(20):
                item, future = pending.pop(0)
                check(item, future)
        for item, future in pending:
            check(item, future)

    async def coroutines():
        rng = random.Random("async")

        async def one(item):
            try:
                outcome = await batcher.aio(item, session="loop")
            except QueueFullError as error:
                refused.append(error)
                return
            except (StageError, asyncio.CancelledError) as error:
                outcome = error
            truths.append((item, outcome))

        for _ in range(20):
            tasks = [asyncio.create_task(one(random_item(rng))) for _ in range(8)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.gather(*tasks)

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(12)]
    threads.append(threading.Thread(target=lambda: asyncio.run(coroutines())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    batcher.close()

    for item, outcome in truths:
        if isinstance(outcome, StageError):
            assert -1 in item
        elif not isinstance(outcome, CancelledError | asyncio.CancelledError | DeadlineExceededError):
            assert outcome == sum(item)
            assert -1 not in item
    stats = batcher.stats
    assert stats.submitted == stats.done + stats.failed + stats.cancelled + stats.expired
    assert (stats.queued, stats.running) == (0, 0)
    assert stats.refused == len(refused)
    assert stats.done > 300
    assert stats.failed > 10
    assert stats.cancelled > 10
    assert stats.memory_max_cost < 100
    assert len(truths) + len(refused) == 12 * 150 + 20 * 8
