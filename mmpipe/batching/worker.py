"""The thread that runs the stage, and the lock around all that it shares with the callers."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import weakref
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any, Generic

from mmpipe.batching.clock import Clock
from mmpipe.batching.device import Device
from mmpipe.batching.memory import MemoryCeiling, is_out_of_memory
from mmpipe.batching.options import BatchOptions
from mmpipe.batching.queue import FairQueue, QueueEntry
from mmpipe.batching.stats import BatcherStats
from mmpipe.errors import (
    ClosedError,
    DeadlineExceededError,
    ItemTooLargeError,
    MmpipeError,
    QueueFullError,
    StageError,
)
from mmpipe.logs import without_text
from mmpipe.stage import In, Out, Stage

logger = logging.getLogger(__name__)

#: What a refused caller is told before anything has been measured.
FIRST_RETRY_AFTER_S = 1.0


class Worker(Generic[In, Out]):
    """Runs one stage on one thread of its own, a batch at a time.

    One lock guards the queue, the counts and the decision over each item's outcome. It is never held while foreign
    code runs: not while the stage computes, nor while a ticket is resolved, which calls its callbacks. It is
    re-entrant because the garbage collector may close a forgotten batcher at any point of this code.
    """

    def __init__(
        self,
        stage: Stage[In, Out],
        name: str,
        options: BatchOptions,
        device: Device,
        clock: Clock,
        *,
        owns_stage: bool,
    ) -> None:
        self.name = name  # of the stage, for messages
        self.options = options
        self._stage = stage
        self._device = device
        self._clock = clock
        self._owns_stage = owns_stage

        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # something for the thread to look at
        self._room = threading.Condition(self._lock)  # something left the queue
        self._queue: FairQueue[In, Out] = FairQueue(options)
        self._batch: list[QueueEntry[In, Out]] = []  # in the stage now
        self._pieces: list[list[QueueEntry[In, Out]]] = []  # of a batch that failed, the next one last
        self._ceiling = MemoryCeiling()
        self._stats = BatcherStats()
        self._thread: threading.Thread | None = None
        self._warmup_error: BaseException | None = None
        self._warm_since_s = math.inf
        self._closing = False

    # --- called from any thread ---

    def start(self) -> None:
        with self._lock:
            if self._closing:
                raise self._closed_error()
            if self._thread is None:
                # A daemon, so that a batcher nobody closed does not keep the process alive.
                thread = threading.Thread(target=self._main, name=f"mmpipe-{self.name}", daemon=True)
                thread.start()
                self._thread = thread
                _running.add(self)
            elif not self._thread.is_alive():
                raise ClosedError(
                    f"The thread of {self.name!r} is gone: a batcher does not survive a fork. "
                    "Make it in the process that uses it."
                )

    def submit(self, entry: QueueEntry[In, Out], *, block: bool) -> None:
        with self._lock:
            if entry.cost > self.options.max_cost:
                self._count(refused=1)
                raise ItemTooLargeError(
                    f"The item costs {entry.cost:g}, a batch of {self.name!r} at most "
                    f"{self.options.max_cost:g}. Cut it into smaller ones, or raise max_cost."
                )
            self.start()
            while not self._queue.has_room(entry.priority):
                self._await_room(entry, block=block)
            self._queue.push(entry, self._clock.now_s())
            self._count(submitted=1, queued_max=max(0, len(self._queue) - self._stats.queued_max))
            self._work.notify()

    def withdraw(self, entry: QueueEntry[In, Out]) -> None:
        """The ticket was cancelled."""
        with self._lock:
            self._claim(entry, "cancelled")
            self._queue.withdraw(entry)
            self._room.notify_all()

    def close(self, *, drain: bool, wait: bool = True) -> None:
        with self._lock:
            self._closing = True
            dropped = [] if drain else [entry for entry in self._queue.clear() if self._claim(entry, "cancelled")]
            self._work.notify_all()
            self._room.notify_all()
            thread = self._thread
        for entry in dropped:
            entry.ticket.set_exception(self._closed_error())
        if thread is None:
            self._close_stage()
        elif wait and thread is not threading.current_thread():
            thread.join()

    def stats(self) -> BatcherStats:
        with self._lock:
            return replace(
                self._stats,
                queued=len(self._queue) + sum(not entry.settled for piece in self._pieces for entry in piece),
                running=sum(not entry.settled for entry in self._batch),
                uptime_s=max(self._clock.now_s() - self._warm_since_s, 0.0),
                memory_max_cost=self._ceiling.max_cost,
            )

    def _await_room(self, entry: QueueEntry[In, Out], *, block: bool) -> None:
        now_s = self._clock.now_s()
        if entry.deadline_s <= now_s:
            self._count(refused=1)
            raise DeadlineExceededError(
                f"No room for the item in the queue of {self.name!r} before its deadline. "
                "Send less, allow more time, or raise max_queue."
            )
        # The worker's own thread (a callback of a ticket) must not wait for what only it can bring about.
        if not block or threading.current_thread() is self._thread:
            self._count(refused=1)
            retry_after_s = self._retry_after_s()
            raise QueueFullError(
                f"The {entry.priority.name.lower()} queue of {self.name!r} is full ({self.options.max_queue} "
                f"items). Try again in about {retry_after_s:.2g} s, submit with block=True, or raise max_queue.",
                retry_after_s,
            )
        self._clock.wait(self._room, entry.deadline_s)
        if self._closing:
            raise self._closed_error()

    def _retry_after_s(self) -> float:
        """When half of the queue will be worked off, at the rate so far.

        There will be room for one sooner, but then everybody who was refused would be back for it.
        """
        computed = self._stats.done + self._stats.failed
        return len(self._queue) / 2 * self._stats.run_s / computed if computed else FIRST_RETRY_AFTER_S

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"The batcher of {self.name!r} is closed. Make a new one to go on.")

    # --- called on the worker's thread ---

    def _main(self) -> None:
        try:
            self._warmup()
            while self._turn():
                pass
        finally:  # nothing is left by now, unless this loop itself has failed: then nobody may wait for ever
            self._fail([*self._batch, *chain.from_iterable(self._pieces)], self._closed_error())
            self.close(drain=False)
            self._close_stage()

    def _warmup(self) -> None:
        try:
            with self._device:
                self._stage.warmup()
        except BaseException as error:
            # no item has come yet, so the message quotes nobody
            logger.error("%s could not warm up, every item will fail: %s\n%s", self.name, error, without_text(error))
            self._warmup_error = error
        with self._lock:
            self._warm_since_s = self._clock.now_s()

    def _turn(self) -> bool:
        """Wait for work and call the stage once. False: closed, and everything is done."""
        with self._lock:
            while not self._pieces and not self._queue.ready(self._clock.now_s(), self._max_cost()):
                if self._closing:
                    if not self._queue:
                        return False
                    break
                self._clock.wait(self._work, self._queue.due_s)
        self._conclude(*self._compute())
        return True

    def _compute(self) -> tuple[list[Out], BaseException | None]:
        """Call the stage on the next batch.

        Neither this frame nor those around it bind a batch or an error to a name. The traceback of an error refers to
        these frames, so the items, and all that the stage had allocated, would live until the garbage collector runs.
        """
        with self._device:
            # Chosen only now: items went on gathering while another stage had the device.
            self._fail_late(self._choose())
            if self._warmup_error is not None:
                return [], self._warmup_error
            return self._call([entry.item for entry in self._batch])

    def _choose(self) -> list[QueueEntry[In, Out]]:
        """Set the batch to compute now, and give what is too late for it. The batch is empty if all were cancelled."""
        with self._lock:
            now_s = self._clock.now_s()
            late = self._queue.remove_late(now_s)
            if self._pieces:
                piece = self._pieces.pop()
                late += [entry for entry in piece if entry.deadline_s <= now_s]
                self._batch = [entry for entry in piece if entry.deadline_s > now_s and not entry.settled]
            else:
                self._batch = self._queue.take(self._max_cost())
                self._count(
                    batches=bool(self._batch),
                    batched_items=len(self._batch),
                    batched_cost=_cost(self._batch),
                    wait_s=sum(now_s - entry.arrived_s for entry in self._batch),
                )
            self._room.notify_all()
            return [entry for entry in late if self._claim(entry, "expired")]

    def _call(self, items: list[In]) -> tuple[list[Out], BaseException | None]:
        if not items:
            return [], None
        started_s = self._clock.now_s()
        try:
            results = list(self._stage.run(items))
        except BaseException as error:  # Rust's panics and sys.exit() as well: nobody else would hear of them here
            return [], error
        finally:
            with self._lock:
                self._count(calls=1, run_s=self._clock.now_s() - started_s)
        if len(results) != len(items):
            return [], StageError(
                f"{self.name!r} gave {len(results)} results for {len(items)} items. "
                "Its run() must return one for each, in the same order."
            )
        return results, None

    def _conclude(self, results: list[Out], error: BaseException | None) -> None:
        batch = self._batch
        if error is None:
            self._deliver(batch, results)
        elif len(batch) == 1 or self._warmup_error is not None:
            self._fail(batch, error)
        else:
            self._split(batch, error)
        with self._lock:
            self._batch = []

    def _deliver(self, batch: list[QueueEntry[In, Out]], results: list[Out]) -> None:
        self._ceiling.succeeded(_cost(batch))
        for entry, result in zip(batch, results, strict=True):
            if self._claim(entry, "done"):
                entry.ticket.set_result(result)

    def _fail(self, batch: Iterable[QueueEntry[In, Out]], error: BaseException) -> None:
        for entry in batch:
            if self._claim(entry, "failed"):
                entry.ticket.set_exception(self._explain(error, entry))

    def _fail_late(self, late: Iterable[QueueEntry[In, Out]]) -> None:
        for entry in late:
            entry.ticket.set_exception(
                DeadlineExceededError(
                    f"The item's deadline passed while it waited for {self.name!r}; it was not computed. "
                    "Send less, or allow more time."
                )
            )

    def _split(self, batch: list[QueueEntry[In, Out]], error: BaseException) -> None:
        """Have the halves of a failed batch computed next, each for itself.

        The error goes with this call, and with it what its traceback keeps alive: on an accelerator, often the memory
        that the halves need.
        """
        out_of_memory = is_out_of_memory(error)
        half = len(batch) // 2
        with self._lock:
            if out_of_memory:
                self._ceiling.failed(_cost(batch))
            self._pieces += [batch[half:], batch[:half]]
            self._batch = []
        logger.warning(
            "%s failed on a batch of %d (%s): trying its halves%s",
            self.name,
            len(batch),
            type(error).__name__,  # not what it says: it may quote an item
            f", and no batch above cost {self._ceiling.max_cost:g} from now on" if out_of_memory else "",
        )

    def _explain(self, error: BaseException, entry: QueueEntry[In, Out]) -> MmpipeError:
        """The error as the caller gets it: as it is if it is ours, wrapped if it is foreign."""
        cause = f"{type(error).__name__}: {error}"
        if self._warmup_error is not None:
            # Wrapped even if it is ours: one instance raised for every item would collect all their tracebacks.
            explained = StageError(f"{self.name!r} could not warm up and computes nothing: {cause}")
        elif isinstance(error, MmpipeError):
            error.add_note(f"(from {self.name!r}, for an item of cost {entry.cost:g}, group {entry.group})")
            return error
        elif is_out_of_memory(error):
            explained = StageError(
                f"{self.name!r} ran out of memory on a single item, of cost {entry.cost:g}: {cause}. "
                "Cut the item, free memory, or use a smaller model."
            )
        else:
            explained = StageError(
                f"{self.name!r} failed on an item, of cost {entry.cost:g}, group {entry.group}: {cause}"
            )
        explained.__cause__ = error
        return explained

    def _close_stage(self) -> None:
        if self._owns_stage:
            try:
                self._stage.close()
            except Exception as error:
                logger.error("%s could not be closed\n%s", self.name, without_text(error))

    # --- called on any thread ---

    def _claim(self, entry: QueueEntry[In, Out], outcome: str) -> bool:
        """Decide and count the outcome of ``entry``, which the caller then sets; not if its ticket was cancelled."""
        with self._lock:
            if entry.settled:
                return False
            entry.settled = True
            wanted = entry.ticket.set_running_or_notify_cancel()
            self._count(**{outcome if wanted else "cancelled": 1})
            return wanted

    # --- called with the lock held ---

    def _max_cost(self) -> float:
        return min(self.options.max_cost, self._ceiling.max_cost)

    def _count(self, **amounts: float) -> None:
        self._stats = self._stats.plus(**amounts)


def _cost(batch: Iterable[QueueEntry[In, Out]]) -> float:
    return sum(entry.cost for entry in batch)


_running: weakref.WeakSet[Worker[Any, Any]] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A daemon thread that is cut off inside a C++ library aborts the process: let what is running end first."""
    for worker in list(_running):
        worker.close(drain=False)
