"""Many callers, one batched model: :class:`Batcher` gathers single items into batches for a stage.

How it decides, in the order of the code:

- **Admission** (:mod:`~mmpipe.batching.worker`). An item that alone is over ``max_cost`` is refused, and so is any
  item while the queue of its priority is full: at once with an estimate of when to retry, or, if asked, by waiting.
- **Order** (:mod:`~mmpipe.batching.queue`). Interactive before bulk, which is promised one batch in eight; within a
  priority, sessions take turns. The first in this order heads the next batch, whatever else is waiting.
- **Company**. Only items of the same priority, with the same ``stage.group`` and of similar cost join the head. What
  does not fit stays where it is, which is the head of a later batch.
- **Moment**. A batch runs when it is full, in count or in cost, or when somebody has waited ``max_wait_s``. While the
  model is busy, items gather. There is no polling.
- **Failure** (:mod:`~mmpipe.batching.worker`, :mod:`~mmpipe.batching.memory`). A batch that fails is halved, and its
  halves again, until the bad item fails alone. Running out of memory also lowers what later batches may cost.
"""

from mmpipe.batching.batcher import Batcher
from mmpipe.batching.clock import Clock, MonotonicClock
from mmpipe.batching.device import Device
from mmpipe.batching.options import BatchOptions, Priority
from mmpipe.batching.stats import BatcherStats

__all__ = ["BatchOptions", "Batcher", "BatcherStats", "Clock", "Device", "MonotonicClock", "Priority"]
