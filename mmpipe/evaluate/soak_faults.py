"""Faults that are injected into a server all the time, and how it answers."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from mmpipe.evaluate.soak_files import HostileFiles
from mmpipe.evaluate.soak_page import PageFunction

#: A fault takes at most this long.
LIMIT_S = 90.0
HOSTILE_ADDRESSES = 8
#: What must never be an answer: an internal error. 503 says that the server is full, which it may be.
_INTERNAL = ("closed 1011", "closed 4500")
_FULL = "HTTP 503"
NOT_INJECTED = "not injected"


@dataclass(frozen=True, slots=True)
class Target:
    """What is attacked, and with what."""

    port: int
    functions: Mapping[str, PageFunction]
    files: HostileFiles
    rng: random.Random
    #: How long a client holds a connection that the server should end.
    hold_s: float = 15.0
    #: Whether its visitors of the page have a heartbeat, as browsers do.
    beats: bool = True

    @property
    def address(self) -> str | None:
        """Where the next hostile client comes from: one of a few addresses, none of which an honest one has."""
        return loopback(f"127.0.0.{2 + self.rng.randrange(HOSTILE_ADDRESSES)}")


@cache
def loopback(address: str) -> str | None:
    """``address``, if this machine has it. Linux has all of 127.0.0.0/8; others know 127.0.0.1 alone."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as found:
            found.bind((address, 0))
    except OSError:
        return None
    return address


def chance(seed: object) -> random.Random:
    """What decides everything that is left to chance; the same for the same seed."""
    return random.Random(str(seed))  # noqa: S311  (no secret)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. ``inject``: does it once, and tells how the server answered, in a word or two."""

    kind: str
    every_s: float  # on average
    inject: Callable[[Target], Awaitable[str]]


@dataclass(slots=True)
class Tally:
    """How often each kind of fault was injected, and how each was answered."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, kind: str, answer: str) -> None:
        self.answers.setdefault(kind, Counter())[answer] += 1

    @property
    def injected(self) -> int:
        return sum(counter.total() for counter in self.answers.values()) - self.not_injected

    @property
    def not_injected(self) -> int:
        """Those that failed on this side."""
        return self._count(lambda answer: answer.startswith(NOT_INJECTED))

    @property
    def internal_errors(self) -> int:
        """Answers that no fault may have."""
        return self._count(internal)

    def _count(self, which: Callable[[str], bool]) -> int:
        return sum(n for counter in self.answers.values() for answer, n in counter.items() if which(answer))


def internal(answer: str) -> bool:
    """Whether ``answer`` tells of an internal error of the server."""
    return (answer.startswith("HTTP 5") and answer != _FULL) or answer in _INTERNAL


async def inject(fault: Fault, target: Target, tally: Tally) -> None:
    """Inject ``fault`` once, and count how it was answered."""
    import httpx

    try:
        async with asyncio.timeout(LIMIT_S):
            answer = await fault.inject(target)
    except httpx.HTTPStatusError as error:
        answer = f"HTTP {error.response.status_code}"
    except TimeoutError:
        answer = "no answer"
    except (OSError, EOFError, httpx.HTTPError):
        answer = "reset"
    except Exception as error:  # an hour's measurement does not end for a mistake of its own, and does not hide it
        answer = f"{NOT_INJECTED}: {type(error).__name__}: {error}"[:120]
    tally.count(fault.kind, answer)


async def storm(faults: Sequence[Fault], target: Target, tally: Tally) -> None:
    """Inject all kinds of ``faults``, each at its own pace, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for fault in faults:
            group.create_task(_again_and_again(fault, target, tally))


async def _again_and_again(fault: Fault, target: Target, tally: Tally) -> None:
    pause_s = fault.every_s * target.rng.random()  # not all kinds at once in the beginning
    while True:
        await asyncio.sleep(pause_s)
        began_s = asyncio.get_running_loop().time()
        await inject(fault, target, tally)
        took_s = asyncio.get_running_loop().time() - began_s
        pause_s = max(0.0, fault.every_s * target.rng.uniform(0.5, 1.5) - took_s)


def all_faults() -> tuple[Fault, ...]:
    """Every kind there is."""
    from mmpipe.evaluate import soak_faults_http, soak_faults_live, soak_faults_page

    return (*soak_faults_http.FAULTS, *soak_faults_live.FAULTS, *soak_faults_page.FAULTS)
