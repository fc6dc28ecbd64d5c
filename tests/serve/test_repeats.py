"""A flood of requests is not a flood of log lines."""

from __future__ import annotations

import logging

import pytest

from mmpipe.serve.repeats import RepeatFilter, Repeats, counting_repeats

logger = logging.getLogger("mmpipe.test.repeats")


class Clock:
    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_the_first_is_written_at_once_and_the_rest_counted() -> None:
    clock, handlers = Clock(), (Kept(), Kept())
    counting = RepeatFilter(Repeats(60.0, clock=clock))  # type: ignore[arg-type]
    for handler in handlers:
        handler.addFilter(counting)
        logger.addHandler(handler)
    try:
        for n in range(1000):
            logger.warning("nonsense from %d", n)
        logger.warning("something else")
        logger.info("not a warning")
        clock.time_s += 61.0
        logger.warning("nonsense from %d", 1000)
        logger.warning("nonsense from %d", 1001)
        clock.time_s += 61.0
        counting.flush()
        counting.flush()
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    for handler in handlers:  # both, whichever was asked first
        assert handler.lines == [
            "nonsense from 0",
            "something else",
            "nonsense from 1000 (999 more like it)",
            "1 more like it: nonsense from %d",
        ]


def test_different_exceptions_under_one_message_are_all_written() -> None:
    counting, handler = RepeatFilter(), Kept()
    handler.addFilter(counting)
    logger.addHandler(handler)
    try:
        for error in (ZeroDivisionError, KeyError, ZeroDivisionError):
            try:
                raise error
            except Exception:
                logger.exception("in the application")
    finally:
        logger.removeHandler(handler)
    assert len(handler.lines) == 2


def test_kinds_are_remembered_in_constant_memory() -> None:
    repeats = Repeats(max_kinds=16)
    for n in range(1000):
        repeats.withheld((n,))
    assert len(repeats._seen) == 16


def test_a_server_counts_for_as_long_as_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    with counting_repeats():
        for _ in range(10):
            logger.warning("again")
    assert [record.getMessage() for record in caplog.records] == ["again", "9 more like it: again"]
    logger.warning("again")
    logger.warning("again")
    assert len(caplog.records) == 4
