"""Room on the disk for what visitors send: so much in all. What nobody uses goes first."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock

#: An upload that nobody has begun to use by then is left over: of a page that was closed, or of nobody who means well.
UNUSED_S = 600.0
#: Left to others on the same disk.
SPARE_BYTES = 500_000_000
#: What the folders begin with in which :mod:`mmpipe.demo.session_store` keeps what is in use.
IN_USE = "visitors-"


class Storage:
    """The folder into which Gradio puts uploads.

    Args:
        folder: that folder, of this server alone.
        max_bytes: what may lie there.
        unused_s: the age beyond which a file goes that no visitor uses, when room is needed.
    """

    def __init__(self, folder: Path, max_bytes: int, unused_s: float = UNUSED_S) -> None:
        self._folder, self._max_bytes, self._unused_s = folder, max_bytes, unused_s
        self._expected_bytes = 0  # of uploads under way
        self._lock = Lock()

    @asynccontextmanager
    async def room_for(self, wanted_bytes: int) -> AsyncIterator[bool]:
        """Whether there is room for ``wanted_bytes``, which is kept meanwhile."""
        there_is = await asyncio.to_thread(self._take, wanted_bytes)
        try:
            yield there_is
        finally:
            if there_is:
                with self._lock:
                    self._expected_bytes -= wanted_bytes

    def _take(self, wanted_bytes: int) -> bool:
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            files, used = list(self._files()), 0
            kept: set[int] = set()
            for _, found in files:  # a file that is used has two names
                used += found.st_size if found.st_ino not in kept else 0
                kept.add(found.st_ino)
            free = (
                min(self._max_bytes - used, shutil.disk_usage(self._folder).free - SPARE_BYTES) - self._expected_bytes
            )
            unused = [(path, found) for path, found in files if self._unused(path, found)]
            for path, found in sorted(unused, key=lambda file: file[1].st_mtime):
                if free >= wanted_bytes:
                    break
                path.unlink(missing_ok=True)
                free += found.st_size
            if free < wanted_bytes:
                return False
            self._expected_bytes += wanted_bytes
            return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                try:
                    yield path, path.lstat()
                except FileNotFoundError:  # gone just now
                    continue

    def _unused(self, path: Path, found: os.stat_result) -> bool:
        in_use = path.relative_to(self._folder).parts[0].startswith(IN_USE) or found.st_nlink > 1
        return not in_use and time.time() - found.st_mtime > self._unused_s


def folder_bytes(folder: Path) -> int:
    """What lies in ``folder``."""
    return sum(Path(at, name).lstat().st_size for at, _, names in os.walk(folder) for name in names)
