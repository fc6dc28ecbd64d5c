"""Guessing takes ever longer, and costs the server nothing."""

from __future__ import annotations

import pytest

from mmpipe.serve.attempts import Attempts


class Clock:
    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s


def test_after_some_failures_each_further_one_doubles_the_wait() -> None:
    clock = Clock()
    attempts = Attempts(free=3, first_wait_s=1.0, longest_wait_s=10.0, clock=clock)  # type: ignore[arg-type]
    waits = []
    for _ in range(9):
        while wait_s := attempts.begin("192.0.2.1"):
            waits.append(wait_s)
            clock.time_s += wait_s
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0]
    assert attempts.begin("192.0.2.2") == 0.0  # others do not wait


def test_many_at_once_are_not_all_free() -> None:
    attempts = Attempts(free=3, clock=Clock())  # type: ignore[arg-type]
    assert sum(attempts.begin("192.0.2.1") == 0.0 for _ in range(100)) == 4


def test_success_and_time_forget_the_failures() -> None:
    clock = Clock()
    attempts = Attempts(free=1, forget_s=100.0, clock=clock)  # type: ignore[arg-type]
    for _ in range(3):
        attempts.begin("192.0.2.1")
    assert attempts.begin("192.0.2.1") > 0
    attempts.succeeded("192.0.2.1")
    assert [attempts.begin("192.0.2.1") for _ in range(2)] == [0.0, 0.0]
    assert attempts.begin("192.0.2.1") > 0
    clock.time_s += 101.0
    assert attempts.begin("192.0.2.1") == 0.0


@pytest.mark.parametrize("address", ["10.0.{}.{}", "2001:db8:{}:{}::1"])
def test_a_million_addresses_take_no_more_memory_than_a_few(address: str) -> None:
    attempts = Attempts(max_addresses=64, clock=Clock())  # type: ignore[arg-type]
    for n in range(5_000):
        attempts.begin(address.format(n // 256, n % 256))
    assert len(attempts._failures) == 64
