"""What callers see of the batcher."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Self

from mmpipe.batching.clock import Clock, MonotonicClock
from mmpipe.batching.device import Device
from mmpipe.batching.options import BatchOptions, Priority
from mmpipe.batching.queue import QueueEntry
from mmpipe.batching.stats import BatcherStats
from mmpipe.batching.worker import Worker
from mmpipe.errors import StageError
from mmpipe.stage import In, Out, Stage

#: How many batches' worth of items ``map`` keeps on their way: one in the model, the others to choose company from.
MAP_AHEAD_BATCHES = 4


class Batcher(Generic[In, Out]):
    """Gathers items from any number of threads and event loops into batches for one stage.

    ::

        with Batcher(recognizer, BatchOptions(max_items=8, max_cost=120)) as batcher:
            future = batcher.submit(window)       # a concurrent.futures.Future
            segments = batcher.map(windows)       # a long recording, lazily and in order

        async with Batcher(recognizer) as batcher:
            segment = await batcher.aio(window)

    The stage runs on one daemon thread, started by the first item, by :meth:`start` or by ``with``; ``warmup`` runs
    there first. If that fails, every item fails with its error. ``stage.cost`` and ``stage.group`` are called on the
    submitting thread. A future's callbacks are called on the batcher's thread, so they must be short and must not
    wait for the batcher.

    Args:
        stage: a stage, or a plain function from a list to as many results (every item then costs 1).
        options: the bounds of batch and queue.
        device: shared by the batchers whose stages live on one accelerator, so that one of them computes at a time.
        owns_stage: close the stage, on its thread, when the batcher is closed. By default whoever made the stage
            closes it.
        clock: for tests.

    A batcher that is dropped without being closed finishes what it was given, then its thread ends. At the exit of
    the interpreter the running batch is finished and the rest is dropped. A batcher does not survive a fork.
    """

    def __init__(
        self,
        stage: Stage[In, Out] | Callable[[Sequence[In]], Iterable[Out]],
        options: BatchOptions | None = None,
        *,
        device: Device | None = None,
        owns_stage: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(stage, Stage):
            self._stage, name = stage, stage.name
        elif callable(stage):
            self._stage, name = FunctionStage(stage), getattr(stage, "__name__", type(stage).__name__)
        else:
            raise TypeError(f"Batcher wants a mmpipe.Stage or a function of a list, not {type(stage).__name__}")
        self._clock = clock or MonotonicClock()
        # The thread refers to the worker only: a batcher that nobody holds any more is noticed.
        self._worker = Worker(
            self._stage, name, options or BatchOptions(), device or Device(), self._clock, owns_stage=owns_stage
        )
        weakref.finalize(self, self._worker.close, drain=True, wait=False).atexit = False

    def start(self) -> Self:
        """Start the thread and the warm-up now rather than with the first item. Returns at once.

        Raises:
            ClosedError: it is closed.
        """
        self._worker.start()
        return self

    def submit(
        self,
        item: In,
        *,
        session: Hashable = None,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
        block: bool = False,
    ) -> Future[Out]:
        """Queue ``item`` and return the future of its result.

        Cancelling the future takes the item out of the queue. It is possible until the result is there; what the
        model is already computing is then discarded.

        Args:
            item: the input.
            session: whom it is for. Sessions take turns; all items without one are one session.
            priority: interactive items go before bulk items.
            deadline_s: seconds from now by which the computation must have started.
            block: while the queue is full, wait for room (no longer than the deadline) instead of raising. Not for
                event loops.

        Raises:
            QueueFullError: no room now; ``retry_after_s`` says when to try again.
            ItemTooLargeError: the item alone costs more than a batch may.
            DeadlineExceededError: there was no room before the deadline.
            ClosedError: it is closed, or was closed during the wait for room.
            StageError: ``stage.cost`` gave no number.

        The future raises:
            StageError: the stage failed on this item; the cause is chained. Errors of mmpipe come as they are.
            DeadlineExceededError: the deadline passed before the computation started.
            ClosedError: the batcher was closed without draining.
        """
        cost = self._stage.cost(item)
        if not 0 <= cost < math.inf:
            raise StageError(f"{self._worker.name!r} says an item costs {cost}. cost() must give 0 or more, finite.")
        entry: QueueEntry[In, Out] = QueueEntry(
            item=item,
            cost=cost,
            group=self._stage.group(item),
            session=session,
            priority=priority,
            deadline_s=math.inf if deadline_s is None else self._clock.now_s() + deadline_s,
            withdraw=self._worker.withdraw,
        )
        self._worker.submit(entry, block=block)
        return entry.ticket

    async def aio(
        self,
        item: In,
        *,
        session: Hashable = None,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> Out:
        """The result of ``item``, for coroutines. Cancelling the awaiting task cancels the item. See :meth:`submit`."""
        return await asyncio.wrap_future(self.submit(item, session=session, priority=priority, deadline_s=deadline_s))

    def map(
        self, items: Iterable[In], *, session: Hashable = None, priority: Priority = Priority.INTERACTIVE
    ) -> Iterator[Out]:
        """The results of ``items``, in order, as they are asked for.

        Only a few batches' worth of items are on their way at any time, so ``items`` may be endless. Waits while the
        queue is full. The first item that fails raises its error here; then, as when the iterator is dropped early,
        what is still on its way is cancelled. See :meth:`submit`.
        """
        ahead = MAP_AHEAD_BATCHES * self._worker.options.max_items
        futures: deque[Future[Out]] = deque()

        def next_result() -> Out:
            result = futures[0].result()
            futures.popleft()
            return result

        try:
            for item in items:
                if len(futures) == ahead:
                    yield next_result()
                futures.append(self.submit(item, session=session, priority=priority, block=True))
            while futures:
                yield next_result()
        finally:
            for future in futures:
                future.cancel()

    def run(
        self, items: Iterable[In], *, session: Hashable = None, priority: Priority = Priority.INTERACTIVE
    ) -> list[Out]:
        """The results of ``items``, in order, like ``stage.run`` but sharing batches with everybody else."""
        return list(self.map(items, session=session, priority=priority))

    @property
    def options(self) -> BatchOptions:
        """The bounds of batch and queue."""
        return self._worker.options

    @property
    def stats(self) -> BatcherStats:
        """A snapshot of what was done so far."""
        return self._worker.stats()

    def close(self, *, drain: bool = True) -> None:
        """Take no more items, finish those that wait (or, without ``drain``, fail them), and end the thread.

        Blocks until the running batch, or with ``drain`` the whole queue, is done. May be called from any thread and
        more than once; a second call without ``drain`` cuts a draining one short.
        """
        self._worker.close(drain=drain)

    async def aclose(self, *, drain: bool = True) -> None:
        """:meth:`close` without blocking the event loop."""
        await asyncio.to_thread(self.close, drain=drain)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=error is None)  # whoever fails, or presses Ctrl-C, does not want the rest computed

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose(drain=error is None)


class FunctionStage(Stage[In, Out]):
    """A plain function as a stage."""

    def __init__(self, function: Callable[[Sequence[In]], Iterable[Out]]) -> None:
        self._function = function

    def run(self, items: Sequence[In]) -> list[Out]:
        return list(self._function(items))
