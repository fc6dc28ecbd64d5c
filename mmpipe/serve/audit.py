"""The audit log: who did what, when, from where, how much, why it was refused. Never what was said, never a key."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from mmpipe.errors import InputError
from mmpipe.files import reason

logger = logging.getLogger(__name__)

#: A file of this size is put aside, and another is begun.
MAX_BYTES = 10_000_000
#: Files that were put aside and are kept.
KEPT_FILES = 5
#: Lines alike (same what, who, from and why) that are written within a window; more are counted, in one line behind it.
LINES_ALIKE = 5
WINDOW_S = 60.0
#: Lines of nobody in particular, from all addresses together: so many at once, so many a second for long. Beyond that
#: they are counted without their addresses: strangers cannot drive the history out of the files.
STRANGERS_AT_ONCE = 200
STRANGERS_PER_S = 1.0
#: Kinds of lines that are told apart at a time.
MAX_KINDS = 2_000

_Kind = tuple[str, str | None, str | None, Any]


class AuditLog:
    """One JSON line for each connection, session, refusal and use of a key. May be used from any thread.

    A line that cannot be written is lost, which is said once in the log: nobody's session ends because a disk is full.

    Args:
        path: the file, which only its owner can read; None: nothing is written.
        max_bytes: the size at which a file is put aside, as ``path.1``, and another is begun.
        kept_files: how many of those are kept.
        now_s: a clock that never goes back.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        kept_files: int = KEPT_FILES,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._now_s = now_s
        self._kinds: OrderedDict[_Kind, _Count] = OrderedDict()  # by the beginning of their windows
        self._strangers = _Bucket(STRANGERS_AT_ONCE, STRANGERS_PER_S, now_s())
        self._handler: _PrivateFileHandler | None = None
        if path is not None:
            try:
                self._handler = _PrivateFileHandler(path, max_bytes, kept_files)
            except OSError as error:
                raise InputError(
                    f"The audit log {str(path)!r} cannot be written: {error.strerror or error}."
                ) from error

    def note(
        self, what: str, *, who: str | None = None, address: str | None = None, **facts: str | float | bool | None
    ) -> None:
        """Write a line, or count it where many alike came.

        Args:
            what: the kind of event, as ``session.started`` or ``connection.refused``.
            who: the name of the key or of the login.
            address: the client's, without its port.
            facts: what else is known: ``why`` it was refused, ``seconds`` of sound, ``bytes``. Never text of a person.
        """
        if self._handler is None:
            return
        with self._lock:
            now_s = self._now_s()
            self._end_windows(now_s)
            kind = (what, who, address, facts.get("why"))
            if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
                kind = (what, who, None, facts.get("why"))
            count = self._kinds.setdefault(kind, _Count(now_s))
            if count.lines < LINES_ALIKE and (who is not None or self._strangers.take(now_s)):
                count.lines += 1
                self._write(what, who, address, facts)
            elif who is None and not count.lines:  # too many kinds of strangers: their addresses are not kept
                del self._kinds[kind]
                self._kinds.setdefault((what, None, None, facts.get("why")), _Count(now_s)).add(facts)
            else:
                count.add(facts)

    def flush(self) -> None:
        """Write the counts of windows that are over. To be called now and then, since nobody else may write a line."""
        with self._lock:
            self._end_windows(self._now_s())

    def reopen(self) -> None:
        """Go on in a new file where the old one was moved away, by logrotate for example."""
        if self._handler is not None:
            self._handler.reopen()

    def close(self) -> None:
        with self._lock:
            self._end_windows(float("inf"))
        if self._handler is not None:
            with suppress(OSError):  # of a full disk, which was told
                self._handler.close()

    def _end_windows(self, now_s: float) -> None:
        while self._kinds:
            kind, count = next(iter(self._kinds.items()))
            if now_s < count.since_s + WINDOW_S:
                break
            del self._kinds[kind]
            if count.more:
                what, who, address, why = kind
                self._write(what, who, address, {"why": why, "more": count.more, **count.sums})

    def _write(self, what: str, who: str | None, address: str | None, facts: dict[str, Any]) -> None:
        assert self._handler is not None
        found: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what}
        found |= {"who": who, "from": address, **facts}
        line = json.dumps({key: value for key, value in found.items() if value is not None})
        self._handler.handle(logging.LogRecord("mmpipe.audit", logging.INFO, "", 0, "%s", (line,), None))


@dataclass(slots=True)
class _Count:
    """Lines alike, within a window."""

    since_s: float
    lines: int = 0  # that were written
    more: int = 0  # that were not
    sums: dict[str, float] = field(default_factory=dict)  # of the facts of those

    def add(self, facts: dict[str, Any]) -> None:
        self.more += 1
        for name in ("seconds", "bytes", "bytes_in", "bytes_out"):
            if isinstance(value := facts.get(name), int | float):
                self.sums[name] = round(self.sums.get(name, 0) + value, 3)


@dataclass(slots=True)
class _Bucket:
    most: float
    per_s: float
    at_s: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.most

    def take(self, now_s: float) -> bool:
        self.left = min(self.left + (now_s - self.at_s) * self.per_s, self.most)
        self.at_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


class _PrivateFileHandler(RotatingFileHandler):
    """A log that only its owner can read, and that survives a full disk."""

    _failed = False  # since a line was written last
    _lost = False  # the line at hand

    def __init__(self, path: Path, max_bytes: int, kept_files: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=kept_files, encoding="utf-8", delay=True)
        self.stream = self._open()  # now, so that a mistake shows

    def _open(self) -> Any:
        for path in [Path(self.baseFilename), *(Path(f"{self.baseFilename}.{n + 1}") for n in range(self.backupCount))]:
            if path.is_file():
                path.chmod(0o600)  # from before, with other permissions
        file = open(  # noqa: SIM115  (closed by the handler)
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )
        if self._failed and file.tell():
            file.write("\n")  # a line may have been broken off
        return file

    def reopen(self) -> None:
        assert self.lock is not None
        with self.lock:
            self._drop()

    def emit(self, record: logging.LogRecord) -> None:
        self._lost = False
        super().emit(record)
        if self._failed and not self._lost:
            self._failed = False
            logger.warning("the audit log is written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the name that logging gives it)
        self._lost = True
        if not self._failed:
            self._failed = True
            error = sys.exception()
            assert error is not None  # logging calls this while it handles one
            logger.error("the audit log cannot be written, lines are lost: %s", reason(error))
        self._drop()  # what was not written must not gather in memory

    def _drop(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()
