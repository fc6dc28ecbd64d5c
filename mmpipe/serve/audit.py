"""The audit log: who did what, when, from where, how much, why it was refused. Never what was said, never a key."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from mmpipe.errors import InputError

#: A file of this size is put aside, and another is begun.
MAX_BYTES = 10_000_000
#: Files that were put aside and are kept.
KEPT_FILES = 5


class AuditLog:
    """One JSON line for each connection, session, refusal and use of a key. May be used from any thread.

    Args:
        path: the file, which only its owner can read; None: nothing is written.
        max_bytes: the size at which a file is put aside, as ``path.1``, and another is begun.
        kept_files: how many of those are kept.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: Path | None = None, *, max_bytes: int = MAX_BYTES, kept_files: int = KEPT_FILES) -> None:
        self._handler: RotatingFileHandler | None = None
        if path is not None:
            try:
                self._handler = _PrivateFileHandler(path, maxBytes=max_bytes, backupCount=kept_files, encoding="utf-8")
            except OSError as error:
                raise InputError(
                    f"The audit log {str(path)!r} cannot be written: {error.strerror or error}."
                ) from error

    def note(
        self, what: str, *, who: str | None = None, address: str | None = None, **facts: str | float | bool | None
    ) -> None:
        """Write a line.

        Args:
            what: the kind of event, as ``session.started`` or ``connection.refused``.
            who: the name of the key or of the login.
            address: the client's, without its port.
            facts: what else is known: ``why`` it was refused, ``seconds`` of sound, ``bytes``. Never text of a person.
        """
        if self._handler is None:
            return
        found: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "what": what}
        found |= {"who": who, "from": address, **facts}
        line = json.dumps({key: value for key, value in found.items() if value is not None}, ensure_ascii=False)
        self._handler.emit(logging.LogRecord("mmpipe.audit", logging.INFO, "", 0, "%s", (line,), None))

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()


class _PrivateFileHandler(RotatingFileHandler):
    """A log that only its owner can read."""

    def _open(self) -> Any:
        return open(
            self.baseFilename, self.mode, encoding=self.encoding, opener=lambda path, flags: os.open(path, flags, 0o600)
        )
