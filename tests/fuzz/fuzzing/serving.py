"""Batches of conversations or requests that hypothesis makes up, to real servers. Runs in a worker."""

from __future__ import annotations

import reprlib
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from fuzzing import conversations, requesting, requests, talking
from fuzzing.outcome import TOLERATED, Failure, Outcome
from fuzzing.watched import WatchedServer

#: Conversations or exchanges of a batch.
BATCH = 25
#: Where the requests of a batch go, by its number.
_TARGETS = ("serve", "demo", "demo", "login")


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


class _FaultError(Exception):
    """Tells hypothesis that what it made up fails."""


class Serving:
    """``kind``: "protocol" or "http". Servers are started when they are first needed. A context manager."""

    def __init__(self, kind: str, folder: Path, seed: int, *, memory_mb: float) -> None:
        self._kind, self._folder, self._seed, self._memory_mb = kind, folder, seed, memory_mb
        self._servers: dict[str, WatchedServer] = {}
        self._known: set[tuple[str, str]] = set()

    def case(self, n: int) -> Outcome:
        """A batch. The first that fails of it is made as small as it gets, unless the fault is known by now."""
        counts: Counter[str] = Counter()
        failures: dict[tuple[str, str], Failure] = {}
        peak_mb = slowest_s = 0.0
        protocol = self._kind == "protocol"
        strategy: Any = conversations.conversations() if protocol else requests.exchanges()
        client: Any = talking.Conversation if protocol else requesting.Exchange
        target = "serve" if protocol else _TARGETS[n % len(_TARGETS)]

        @hypothesis.seed(f"{self._kind}/{self._seed}/{n}")
        @settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(strategy)
        def attack(what: Any) -> None:
            nonlocal peak_mb, slowest_s
            server = self._server(target)
            began_s = time.monotonic()
            found = [*client(server, counts).run(what), *server.faults(self._memory_mb)]
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            peak_mb = max(peak_mb, server.peak_mb)
            grave = any(failure.kind in ("crash", "hang", "memory") for failure in found)
            for failure in found:
                detail = f"{_SHORT.repr(what)}\n{failure.detail}"
                failures[failure.kind, failure.what] = Failure(failure.kind, failure.what, detail)
            if grave:
                self._servers.pop(target).close()  # another one for what comes next
            elif {(failure.kind, failure.what) for failure in found if failure.kind != TOLERATED} - self._known:
                raise _FaultError  # once more, with less of it

        with suppress(_FaultError, hypothesis.errors.Flaky, ExceptionGroup):  # noted where they were found
            attack()
        self._known |= set(failures)
        return Outcome(n, dict(counts), tuple(failures.values()), peak_mb, slowest_s)

    def _server(self, kind: str) -> WatchedServer:
        if kind not in self._servers:
            self._servers[kind] = WatchedServer(kind, self._folder)
        return self._servers[kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()
