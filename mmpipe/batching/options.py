"""What a batcher may be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first. Each priority has its own queue and its own batches."""

    INTERACTIVE = 0  # somebody is waiting for this very item
    BULK = 1  # throughput counts: a recording, a document


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """The bounds of a batch and of the queue before it.

    Raises:
        ValueError: a bound that nothing could satisfy.
    """

    max_items: int = 8  # in one batch
    max_cost: float = math.inf  # of one batch, summed, in the unit of ``Stage.cost``; a single item over it is refused
    max_wait_s: float = 0.005  # that the first item of a batch waits for company; 0: take what is there
    max_queue: int = 256  # items waiting, for each priority
    #: The largest cost in a batch over the smallest. Padded to the longest, a batch is never more than
    #: 1 - 1 / max_spread padding. ``math.inf``: do not look at the lengths. A stage whose items have a fixed price
    #: besides should add it in ``cost``, so that short ones count as similar.
    max_spread: float = 2.0

    def __post_init__(self) -> None:
        if self.max_items < 1 or self.max_queue < 1:
            raise ValueError(f"max_items and max_queue must be at least 1, not {self.max_items} and {self.max_queue}")
        if not self.max_cost > 0:
            raise ValueError(f"max_cost must be above 0, not {self.max_cost}")
        if not 0 <= self.max_wait_s < math.inf:
            raise ValueError(f"max_wait_s must be 0 or more, and finite, not {self.max_wait_s}")
        if not self.max_spread >= 1:
            raise ValueError(f"max_spread must be at least 1, not {self.max_spread}")
