"""The batcher's only source of time, so that tests can put another in its place and never sleep."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now_s(self) -> float:
        """Seconds that never run backwards, from any start."""

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        """Wait for a notification of ``condition``, which the caller holds, or until a time; ``inf``: for ever.

        May return early: the caller looks again at what it is waiting for.
        """


class MonotonicClock:
    """Real time."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        condition.wait(min(max(until_s - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
