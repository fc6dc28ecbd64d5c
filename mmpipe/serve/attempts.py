"""Guessing takes time: who failed a few times waits, twice as long each time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mmpipe.batching import Clock, MonotonicClock
from mmpipe.serve.hosts import neighbourhood


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0


class Attempts:
    """Failed attempts to log in, by address, in constant memory. Used on one event loop.

    Args:
        free: failures after which nobody waits yet: everybody mistypes.
        first_wait_s: the wait after one more; each further one doubles it.
        longest_wait_s: but not beyond this.
        forget_s: without a failure, all are forgotten.
        max_addresses: remembered at a time; beyond, those that were quiet the longest are forgotten.
    """

    def __init__(
        self,
        free: int = 5,
        first_wait_s: float = 1.0,
        longest_wait_s: float = 300.0,
        forget_s: float = 1800.0,
        max_addresses: int = 4096,
        clock: Clock | None = None,
    ) -> None:
        self._free, self._first_wait_s, self._longest_wait_s = free, first_wait_s, longest_wait_s
        self._forget_s, self._max_addresses = forget_s, max_addresses
        self._clock = clock or MonotonicClock()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def begin(self, address: str | None) -> float:
        """Seconds that ``address`` has to wait; 0: it may try. That counts as failed until :meth:`succeeded` is told,
        or many at once would all be free."""
        key, now_s = neighbourhood(address), self._clock.now_s()
        found = self._failures.get(key)
        if found is None or now_s - found.last_s > self._forget_s:
            found = self._failures[key] = _Failures()
        if found.count > self._free:
            doublings = min(found.count - self._free - 1, 30)
            wait_s = found.last_s + min(self._first_wait_s * 2.0**doublings, self._longest_wait_s) - now_s
            if wait_s > 0:
                return wait_s
        found.count, found.last_s = found.count + 1, now_s
        self._failures.move_to_end(key)
        if len(self._failures) > self._max_addresses:
            self._failures.popitem(last=False)
        return 0.0

    def succeeded(self, address: str | None) -> None:
        self._failures.pop(neighbourhood(address), None)
