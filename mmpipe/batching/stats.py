"""What a batcher has done so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """A snapshot. Every submitted item is in exactly one of queued, running, done, failed, cancelled and expired."""

    submitted: int = 0  # items accepted
    refused: int = 0  # items not accepted: the queue was full, or the item too large
    done: int = 0
    failed: int = 0  # by an error of the stage
    cancelled: int = 0  # by the caller, or by closing without draining
    expired: int = 0  # the deadline passed before the item was computed
    queued: int = 0  # now
    queued_max: int = 0  # at any time
    running: int = 0  # now, in the batch that is being computed

    batches: int = 0  # taken from the queue
    calls: int = 0  # of the stage: more than batches where some failed and were split
    batched_items: int = 0  # in all batches
    batched_cost: float = 0.0  # in all batches, in the unit of ``Stage.cost``
    wait_s: float = 0.0  # from submission to batch, over all batched items
    run_s: float = 0.0  # in the stage, over all calls, without the warm-up
    uptime_s: float = 0.0  # since the warm-up ended
    memory_max_cost: float = math.inf  # what a batch may cost since memory last ran out; inf: it never did

    @property
    def mean_wait_s(self) -> float:
        """Of an item, before its batch starts."""
        return self.wait_s / self.batched_items if self.batched_items else 0.0

    @property
    def mean_run_s(self) -> float:
        """Of a call of the stage."""
        return self.run_s / self.calls if self.calls else 0.0

    @property
    def mean_batch_items(self) -> float:
        return self.batched_items / self.batches if self.batches else 0.0

    @property
    def mean_batch_cost(self) -> float:
        return self.batched_cost / self.batches if self.batches else 0.0

    @property
    def utilization(self) -> float:
        """The part of the uptime that the stage spent computing, 0..1."""
        return self.run_s / self.uptime_s if self.uptime_s else 0.0

    def plus(self, **amounts: float) -> BatcherStats:
        """These figures with ``amounts`` added to the fields of those names."""
        return replace(self, **{name: getattr(self, name) + amount for name, amount in amounts.items()})
