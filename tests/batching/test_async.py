"""Coroutines as callers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mmpipe.batching import Batcher, BatchOptions
from mmpipe.errors import ClosedError, QueueFullError, StageError


def test_coroutines_share_batches(stage):
    async def main():
        async with Batcher(stage, BatchOptions(max_items=3, max_wait_s=20)) as batcher:
            return await asyncio.gather(*(batcher.aio(item) for item in "abc"))

    assert asyncio.run(main()) == ["A", "B", "C"]
    assert stage.batches == [["a", "b", "c"]]


def test_the_model_never_runs_on_the_event_loop(stage):
    async def main():
        async with Batcher(stage, BatchOptions(max_wait_s=0)) as batcher:
            await batcher.aio("a")

    asyncio.run(main())
    assert threading.current_thread().name not in stage.threads


def test_cancelling_the_awaiting_task_cancels_the_item(busy, stage):
    batcher = busy()

    async def main():
        tasks = [asyncio.create_task(batcher.aio(item)) for item in "abc"]
        while batcher.stats.queued < 3:
            await asyncio.sleep(0)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        while batcher.stats.queued > 2:
            await asyncio.sleep(0)
        stage.release()
        return await asyncio.gather(tasks[0], tasks[2])

    assert asyncio.run(main()) == ["A", "C"]
    assert stage.batches == [["a", "c"]]


def test_a_time_limit_around_an_item_cancels_it(busy, stage):
    batcher = busy()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await batcher.aio("a")

    asyncio.run(main())
    assert batcher.stats.queued == 0
    assert batcher.stats.cancelled == 1


def test_errors_reach_the_coroutine(busy, stage):
    batcher = busy(max_queue=1, max_items=1)

    async def main():
        queued = asyncio.create_task(batcher.aio("a"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await batcher.aio("b")

        def fail(items):
            raise ValueError(items)

        stage.compute = fail
        stage.release()
        with pytest.raises(StageError, match="ValueError"):
            await queued

    asyncio.run(main())


def test_a_loop_that_is_gone_does_not_disturb_the_batcher(busy, stage):
    batcher = busy()

    async def main():
        task = asyncio.create_task(batcher.aio("a"))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    other = batcher.submit("b")
    stage.release()
    assert other.result(20) == "B"


def test_async_with_drops_what_is_pending_when_its_body_fails(stage):
    async def main():
        async with Batcher(stage, BatchOptions(max_wait_s=0, max_items=1)) as batcher:
            stage.hold()
            running = asyncio.create_task(batcher.aio("a"))
            await asyncio.to_thread(stage.wait_for_call)
            pending = asyncio.create_task(batcher.aio("b"))
            await asyncio.sleep(0)
            pending.add_done_callback(lambda _: stage.release())
            tasks.extend([running, pending])
            raise ZeroDivisionError

    async def outer():
        with pytest.raises(ZeroDivisionError):
            await main()
        return await asyncio.gather(*tasks, return_exceptions=True)

    tasks = []
    result, error = asyncio.run(outer())
    assert result == "A"
    assert isinstance(error, ClosedError)
