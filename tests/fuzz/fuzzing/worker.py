"""One disposable process of a campaign: works off every so-manieth case, and writes a line of JSON for each."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from fuzzing.outcome import Outcome

#: Of address space, when foreign decoders run in the worker itself: more would hurt the machine.
LIMIT_BYTES = 6 * 2**30


@dataclass(frozen=True, slots=True)
class Order:
    """Cases ``first``, ``first + step``, ... below ``end``, all of them from ``seed``."""

    kind: str
    seed: int
    first: int
    step: int
    end: int
    seeds: str  # the folder of the files that are mutated
    in_process: bool
    memory_mb: float
    hang_s: float

    @classmethod
    def read(cls, text: str) -> Order:
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(asdict(self))


class Runner(Protocol):
    def case(self, n: int) -> Outcome:
        """Run case ``n``."""


def work(order: Order) -> None:
    """Until all is done, or a case took more memory than it may: then a new process goes on."""
    # decoders write where they like; what is read by the parent goes where they do not
    lines = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)

    def say(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")

    with _runner(order) as runner:
        say({"ready": True})
        for n in range(order.first, order.end, order.step):
            outcome = runner.case(n)
            say(asdict(outcome))
            if any(failure.kind == "memory" for failure in outcome.failures):
                break


@contextmanager
def _runner(order: Order) -> Iterator[Runner]:
    from fuzzing import decoding

    with tempfile.TemporaryDirectory(prefix="mmpipe-fuzz-") as scratch:
        if order.kind == "broken":
            from fuzzing.broken import Broken

            yield Broken()
        elif order.kind in decoding.KINDS:
            if order.in_process:
                resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
            yield decoding.Decoding(
                order.kind,
                Path(order.seeds),
                Path(scratch),
                order.seed,
                in_process=order.in_process,
                memory_mb=order.memory_mb,
            )
        else:
            from fuzzing import serving

            with serving.Serving(order.kind, Path(scratch), order.seed, memory_mb=order.memory_mb) as runner:
                yield runner


if __name__ == "__main__":
    work(Order.read(sys.argv[1]))
