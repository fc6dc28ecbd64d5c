"""Running out of memory: how to recognize it, and what to remember of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

# What libraries say. None of them has a type of its own for it that could be caught without importing the library,
# except PyTorch, whose torch.OutOfMemoryError is known by its name.
_PHRASES = (
    "out of memory",  # CUDA, and through it CTranslate2, PyTorch, JAX; MPS
    "failed to allocate memory",  # ONNX Runtime
    "can't allocate memory",  # PyTorch on the CPU
    "alloc_failed",  # cuBLAS and cuDNN: CUBLAS_STATUS_ALLOC_FAILED
    "bad_alloc",  # C++
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what caused it, says that memory ran out, on the host or on an accelerator."""
    seen: BaseException | None = error
    while seen is not None:
        message = str(seen).lower()
        if (
            isinstance(seen, MemoryError)
            or type(seen).__name__ == "OutOfMemoryError"
            or any(phrase in message for phrase in _PHRASES)
        ):
            return True
        seen = seen.__cause__
    return False


@dataclass(slots=True)
class MemoryCeiling:
    """What a batch may cost, learnt from the batches that ran out of memory.

    A failure brings it down to half of what failed, or to the most that has fitted. It grows by a quarter after many
    large batches that fit: so memory that was short only because another process had it is used again, and where the
    limit is permanent the price is one failed call in many. Single items are never held back by it.
    """

    GROW_AFTER = 64  # batches in a row that fit although they were large
    GROW_BY = 1.25

    max_cost: float = math.inf
    proven: float = 0.0  # the largest cost that has fitted, and has not failed since
    in_a_row: int = 0

    def failed(self, cost: float) -> None:
        """A batch of ``cost`` ran out of memory."""
        if cost <= self.proven:
            self.proven = 0.0
        self.max_cost = min(self.max_cost, max(cost / 2, self.proven))
        self.in_a_row = 0

    def succeeded(self, cost: float) -> None:
        """A batch of ``cost`` fitted. Small ones say nothing about larger ones."""
        self.proven = max(self.proven, cost)
        if cost > self.max_cost / 2:
            self.in_a_row += 1
            if self.in_a_row == self.GROW_AFTER:
                self.max_cost *= self.GROW_BY
                self.in_a_row = 0
