"""Logs without what people said: errors as their classes and frames, without their messages.

The message of an error often quotes what it is about: the sentence that could not be translated, the file that a
visitor chose. The caller is told it. A log outlives the session, and others read it: there an error is only
:func:`without_text`. Servers run inside :func:`private_logs`, which holds libraries to the same rule.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

#: Errors of one chain that are shown.
MAX_CHAIN = 8

#: At debug level they write down what comes and goes: messages of a WebSocket, the notes in a picture.
_TALKATIVE = ("PIL", "uvicorn.error", "websockets")

_private = 0  # how many private_logs() are entered
_guard = threading.Lock()


def without_text(error: BaseException) -> str:
    """``error`` and what caused it, for a log: where it was raised and its class, but not what it says.

    Args:
        error: what was caught.

    Returns:
        Lines as of a traceback, the cause first. An error of the operating system keeps its code, as in
        ``OSError [ENOSPC]``.

    Example:
        >>> try:
        ...     raise ValueError("what somebody said")
        ... except ValueError as error:
        ...     print(without_text(error).splitlines()[-1])
        ValueError
    """
    return "\n".join(reversed(_chain(error)))


def file_name(name: str) -> str:
    """``name`` of a file in a log: itself, but not inside :func:`private_logs`, where strangers chose it."""
    return "a file" if _private else repr(name)


@contextmanager
def private_logs() -> Iterator[None]:
    """Hold every library of this process to the rule, too: for programs that serve other people.

    Tracebacks, whoever logs them, come without messages; so do those of threads and finalizers. What libraries would
    write down of the traffic at debug level is left out, whatever the level of the root logger.
    """
    global _private  # noqa: PLW0603  one process, one log
    with _guard:
        _private += 1
        undo = _install() if _private == 1 else None
    try:
        yield
    finally:
        with _guard:
            _private -= 1
            if undo is not None:
                _restore(undo)


def _chain(error: BaseException) -> list[str]:
    """The error, then its cause, then the cause of that."""
    found: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        if len(found) == MAX_CHAIN:
            found.append("(and more)")
            break
        seen.add(id(following))
        found.append(_one(following))
        caused = following.__cause__
        following = caused if caused or following.__suppress_context__ else following.__context__
    return found


def _one(error: BaseException) -> str:
    lines = [f"{len(error.exceptions)} errors together, each:"] if isinstance(error, BaseExceptionGroup) else []
    if isinstance(error, BaseExceptionGroup):
        lines += [without_text(member) for member in error.exceptions[:MAX_CHAIN]]
    lines += [frame.rstrip("\n") for frame in traceback.format_tb(error.__traceback__)]
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return "\n".join([*lines, f"{name} [{code}]" if code else name])


def _install() -> tuple[Any, ...]:
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    undo = (logging.getLogRecordFactory(), threading.excepthook, sys.unraisablehook, levels)
    made = undo[0]

    def record(*args: Any, **options: Any) -> logging.LogRecord:
        return _cleaned(made(*args, **options))

    logging.setLogRecordFactory(record)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _finalizer_failed
    for name, level in levels.items():
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    return undo


def _restore(undo: tuple[Any, ...]) -> None:
    factory, threading.excepthook, sys.unraisablehook, levels = undo
    logging.setLogRecordFactory(factory)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _cleaned(record: logging.LogRecord) -> logging.LogRecord:
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        told, given = str(record.msg).rstrip(), record.args
        if record.name == "asyncio":  # writes the task beside the message, and so its result or its error, in full
            told = told.partition("\n")[0]
        if not isinstance(given, tuple) or not given:  # kept apart from the text, where they are, for who counts alike
            told, given = (record.getMessage().rstrip() if given else told).replace("%", "%%"), ()
        record.msg, record.args, record.exc_info = f"{told}\n%s", (*given, without_text(error)), None
    return record


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and not isinstance(failure.exc_value, SystemExit):
        name = failure.thread.name if failure.thread else "without a name"
        logger.error("the thread %s ended with an error\n%s", name, without_text(failure.exc_value))


def _finalizer_failed(failure: sys.UnraisableHookArgs) -> None:
    if failure.exc_value is not None:
        logger.error("an error where none can be raised\n%s", without_text(failure.exc_value))
