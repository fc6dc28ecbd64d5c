"""A model's folder in the cache: what is there, whether it is whole, and how a file gets in.

A file enters by one atomic rename, after its digest was checked: what lies in a folder was right once. A note beside
the files (``.verified.json``) says of each which digest it had, and its size and modification time then: while these
still hold, starting up costs a ``stat`` for each file and no hashing. The note may be lost at no harm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmpipe.errors import DigestMismatchError
from mmpipe.weights import settings
from mmpipe.weights.manifest import File

logger = logging.getLogger(__name__)

_VERIFIED = ".verified.json"
_LISTING = ".listing.json"

#: File name -> its digest, size and modification time when it was last verified.
_Notes = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a look at a folder found: names of files, in the manifest's order."""

    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.missing and not self.wrong


@dataclass(frozen=True, slots=True)
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
        """Hold what is there against ``files``. ``thorough``: hash also what was verified before.

        A file whose digest nobody published must be the one that was fetched.
        """
        notes = self._notes()
        missing, wrong, news = [], [], {}
        for file in files:
            note = notes.get(file.name, {})
            try:
                found = _verified(self.path / file.name, file, None if thorough else note, note.get("sha256"))
            except FileNotFoundError:
                missing.append(file.name)
                continue
            if found is None:
                wrong.append(file.name)
            elif found != note:
                news[file.name] = found
        if news or not notes.keys().isdisjoint(wrong):
            with suppress(OSError):  # a cache that is only readable works too, it only starts slower
                self._write_notes({name: note for name, note in (notes | news).items() if name not in wrong})
        return Condition(tuple(missing), tuple(wrong))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and threads from this folder, after waiting for the one that may hold it."""
        lock = _lock(self._slug)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            logger.info("%s is being fetched by another process; waiting for it", self.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the cache's own disk, gone at the end. To be used while locked."""
        parent = settings.cache_root() / "staging"
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent, self._slug)
        # No name is used twice: a child of a killed process may still be writing into its folder.
        with tempfile.TemporaryDirectory(prefix=f"{self._slug}@@", dir=parent, ignore_cleanup_errors=True) as staging:
            yield Path(staging)

    def commit(self, file: File, staged: Path) -> None:
        """Verify ``staged`` and move it to its place. To be used while locked.

        Raises:
            DigestMismatchError: it is not ``file``; it has been deleted.
        """
        size_bytes, sha256 = staged.stat().st_size, _sha256(staged)
        if size_bytes != file.size_bytes or sha256 != (file.sha256 or sha256):
            staged.unlink()
            expected = file.sha256 or "(not published)"
            raise DigestMismatchError(
                f"{file.name} of {self.name} should have {file.size_bytes} bytes and SHA-256 {expected}; "
                f"what came has {size_bytes} bytes and SHA-256 {sha256}"
            )
        _sync(staged)  # or a power cut could keep the name and lose the bytes
        target = self.path / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
        self._write_notes(self._notes() | {file.name: {"sha256": sha256, **_stamp(target)}})

    def discard(self, names: Iterable[str]) -> None:
        """Delete files. To be used while locked."""
        for name in names:
            logger.warning("%s of %s is damaged; deleting it", name, self.name)
            (self.path / name).unlink()

    def remove(self) -> int:
        """Delete everything and give how many bytes that was. To be used while locked."""
        if not self.path.exists():
            return 0
        freed_bytes = sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        shutil.rmtree(self.path)
        return freed_bytes

    def listing(self) -> dict[str, Any] | None:
        """What :meth:`write_listing` wrote: the table of a model that no manifest describes."""
        table = _read(self.path / _LISTING)
        return table or None

    def write_listing(self, table: dict[str, Any]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / _LISTING, table)

    def pin(self) -> None:
        """Write the digests of the files as they came into the listing: from now on they are what is expected."""
        table = self.listing()
        if table:
            notes = self._notes()
            files = {name: pin | {"sha256": notes[name]["sha256"]} for name, pin in table["files"].items()}
            self.write_listing(table | {"files": files})

    def _notes(self) -> _Notes:
        return _read(self.path / _VERIFIED)

    def _write_notes(self, notes: _Notes) -> None:
        _write(self.path / _VERIFIED, notes)


def listed() -> Iterator[str]:
    """Names of the models in the cache that no manifest describes."""
    for path in sorted((settings.cache_root() / "weights").glob(f"*/{_LISTING}")):
        if name := _read(path).get("name"):
            yield name


def _lock(slug: str) -> FileLock:
    locks = settings.cache_root() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{slug}.lock")


def _sweep(parent: Path, locked: str) -> None:
    """Delete what killed processes left in ``parent``: the staging folders of models that nobody holds but us."""
    for leftover in parent.iterdir():
        slug = leftover.name.partition("@@")[0]
        if slug == locked:
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(Timeout), _lock(slug).acquire(blocking=False):
                shutil.rmtree(leftover, ignore_errors=True)


def _verified(path: Path, file: File, trusted: dict[str, object] | None, seen: object) -> dict[str, object] | None:
    """What to note of the file at ``path``; None when it is not ``file``. Hashes it unless ``trusted`` still holds.

    ``seen``: the digest it once had, for a file whose digest nobody published.
    """
    pin = file.sha256 or seen
    stamp = _stamp(path)
    note = {"sha256": pin, **stamp}
    if pin is None or stamp["size_bytes"] != file.size_bytes:
        return None
    return note if note == trusted or _sha256(path) == pin else None


def _stamp(path: Path) -> dict[str, object]:
    status = path.stat()
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a small file as a whole: a reader sees the old one or the new one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        partial.write_text(json.dumps(content, indent=1), "utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
