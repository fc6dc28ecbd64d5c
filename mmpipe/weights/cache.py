"""A model's folder in the cache: what is there, whether it is whole, and how a file gets in.

A file enters by one atomic rename, after its digest was checked; so whatever lies in a folder was once right. A record
beside the files (``.mmpipe.json``) keeps each file's digest with the size and modification time it then had: while
these still hold, starting up costs a ``stat`` a file and no hashing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mmpipe.errors import DigestMismatchError, WeightsError
from mmpipe.weights import settings
from mmpipe.weights.manifest import File

log = logging.getLogger(__name__)

RECORD = ".mmpipe.json"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a look at a folder found. Names of files, in the manifest's order."""

    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.missing and not self.wrong


@dataclass(frozen=True)
class Folder:
    """The place of one model in the cache. Nothing need exist there yet."""

    name: str  # of the model

    @property
    def path(self) -> Path:
        return settings.cache_root() / "weights" / self._slug

    @property
    def _slug(self) -> str:
        return self.name.replace(":", "--").replace("/", "--")

    def inspect(self, files: Iterable[File], *, thorough: bool = False) -> Condition:
        """Compare what is there with ``files``. A file without a known digest is held against the record.

        ``thorough`` hashes every file, whatever the record says of it.
        """
        record = self.record()
        missing, wrong = [], []
        changed = False
        for file in files:
            stamp = _stamp(self.path / file.name)
            known = record.get(file.name, {})
            pin = file.sha256 or known.get("sha256")
            if stamp is None:
                missing.append(file.name)
            elif stamp["size_bytes"] != file.size_bytes or pin is None:
                wrong.append(file.name)
            elif thorough or known != {"sha256": pin, **stamp}:
                if _sha256(self.path / file.name) == pin:
                    record[file.name] = {"sha256": pin, **stamp}
                    changed = True
                else:
                    wrong.append(file.name)
        if changed:
            self._write_record(record)
        return Condition(tuple(missing), tuple(wrong))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this folder against other processes and threads, waiting for as long as another holds it."""
        locks = settings.cache_root() / "locks"
        with _told_plainly():
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{self._slug}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                log.info("waiting for another process that is fetching %s", self.name)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self, needed_bytes: int) -> Iterator[Path]:
        """An empty folder on the cache's own disk, gone at the end. Call it with the folder locked.

        Raises:
            WeightsError: there is no room for ``needed_bytes``, or the room runs out on the way.
        """
        parent = settings.cache_root() / "staging"
        with _told_plainly(needed_bytes):
            parent.mkdir(parents=True, exist_ok=True)
            # What a killed process left. Names are never used twice: a child that outlived its parent may still write.
            for leftover in parent.glob(f"{self._slug}@@*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if shutil.disk_usage(parent).free < needed_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with tempfile.TemporaryDirectory(
                prefix=f"{self._slug}@@", dir=parent, ignore_cleanup_errors=True
            ) as staging:
                yield Path(staging)

    def commit(self, file: File, staged: Path) -> None:
        """Move ``staged``, verified, to its place. Call it with the folder locked.

        Raises:
            DigestMismatchError: it is not ``file``; it has been deleted.
        """
        size_bytes = staged.stat().st_size
        found = _sha256(staged)
        if size_bytes != file.size_bytes or (file.sha256 and found != file.sha256):
            staged.unlink()
            raise DigestMismatchError(
                f"{self.name}: {file.name} should have {file.size_bytes} bytes and SHA-256 {file.sha256}, "
                f"but what came has {size_bytes} bytes and SHA-256 {found}"
            )
        with staged.open("rb") as stream:
            os.fsync(stream.fileno())  # or a power cut could leave the name without the bytes
        target = self.path / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        record = self.record()
        stamp = _stamp(target)
        assert stamp is not None
        record[file.name] = {"sha256": found, **stamp}
        self._write_record(record)

    def discard(self, names: Iterable[str]) -> None:
        """Delete files. Call it with the folder locked."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> int:
        """Delete the folder and give the bytes that were freed. Call it with the folder locked."""
        freed = sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        if self.path.exists():
            shutil.rmtree(self.path)
        return freed

    def record(self) -> dict[str, dict[str, object]]:
        """File name -> digest, size and modification time when it was last verified."""
        try:
            record = json.loads((self.path / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _write_record(self, record: dict[str, dict[str, object]]) -> None:
        partial = self.path / f"{RECORD}.{os.getpid()}"
        try:
            partial.write_text(json.dumps(record, indent=1), "utf-8")
            partial.replace(self.path / RECORD)
        except OSError as error:  # a read-only cache works, only slower to start
            log.debug("%s cannot be written: %s", self.path / RECORD, error)
            return


@contextmanager
def _told_plainly(needed_bytes: int = 0) -> Iterator[None]:
    """Turn what a disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        root = settings.cache_root()
        if error.errno in _NO_SPACE:
            free = shutil.disk_usage(root).free
            raise WeightsError(
                f"No room in {root}: {needed_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free. "
                "Free some space, or set MMPIPE_CACHE to a folder on a larger disk."
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise WeightsError(
                f"Cannot write to the cache {root} ({error.strerror}). Set MMPIPE_CACHE to a folder you may write to."
            ) from error
        raise


def _stamp(path: Path) -> dict[str, object] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
