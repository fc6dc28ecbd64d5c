"""How much a source may send. A registry, a mirror or somebody in between need not mean well, or work."""

from __future__ import annotations

import io
import resource
import sys
from pathlib import Path
from typing import IO, Any

from mmpipe.errors import WeightsError

#: What describes a package or a repository. The longest listing known, of ten thousand files, has 4 MB.
METADATA_BYTES = 16 << 20
#: What comes with a redirect or an error, and nobody reads.
EXPLANATION_BYTES = 1 << 20
#: An archive holds what is wanted of it, and so much besides: other models, code, libraries.
ARCHIVE_BESIDES_BYTES = 128 << 20
#: The same, unpacked.
UNPACKED_BESIDES_BYTES = 512 << 20
#: Members of an archive, and the list of them.
MAX_MEMBERS = 20_000
DIRECTORY_BYTES = 4 << 20
#: Read of a tar at once: headers and chunks are smaller, a header that says otherwise lies.
_READ_BYTES = 2 << 20
#: What a package manager needs for itself.
_MANAGER_BYTES = 2 << 30


class SourceError(WeightsError):
    """One source cannot give what it was asked for; another may."""


class TooLargeError(SourceError):
    """A source sends more than what was asked for can have."""

    def __init__(self, what: str, max_bytes: int) -> None:
        super().__init__(
            f"{what} is larger than the {max_bytes / 1e6:.1f} MB that it may have; it was dropped. "
            "Check the registry or mirror that is configured"
        )


def archive_bytes(wanted_bytes: int) -> int:
    """The size of an archive, at most, of which so much is wanted."""
    return wanted_bytes + ARCHIVE_BESIDES_BYTES


def read_metadata(stream: IO[bytes], what: str) -> bytes:
    """All of ``stream``.

    Raises:
        TooLargeError: it is more than :data:`METADATA_BYTES`.
    """
    content = stream.read(METADATA_BYTES + 1)
    if len(content) > METADATA_BYTES:
        raise TooLargeError(what, METADATA_BYTES)
    return content


def limit_process(pid: int, file_bytes: int) -> None:
    """Let the child ``pid``, and its own, write no larger file, and hold little more than that in memory."""
    data_bytes = _MANAGER_BYTES + 3 * file_bytes  # npm holds a package more than once
    for what, wanted in ((resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_DATA, data_bytes)):
        hard = resource.prlimit(pid, what)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.prlimit(pid, what, (most, most))


def limit_explanations(session: Any) -> None:
    """Bound what ``session``, of huggingface_hub, reads of redirects and errors. It would read all of it."""
    hooks = session.event_hooks["response"]
    if _limit_explanation not in hooks:
        hooks.append(_limit_explanation)


def _limit_explanation(response: Any) -> None:
    if response.status_code < 300:
        return
    library = sys.modules[type(response).__module__.partition(".")[0]]  # httpx, or httpx2 since huggingface_hub 2

    class Bounded(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Any:
            size_bytes = 0
            for chunk in self._stream:
                size_bytes += len(chunk)
                if size_bytes > EXPLANATION_BYTES:
                    raise TooLargeError(f"An answer {response.status_code} of {response.url.host}", EXPLANATION_BYTES)
                yield chunk

        def close(self) -> None:
            self._stream.close()

    response.headers.pop("content-encoding", None)  # a few bytes could unpack to very many
    response.stream = Bounded(response.stream)


class BoundedReader(io.RawIOBase):
    """``stream``, unpacked as it is read, up to ``max_bytes``. ``what``: its name for the error."""

    def __init__(self, stream: IO[bytes], max_bytes: int, what: str) -> None:
        self._stream, self._max_bytes, self._what = stream, max_bytes, what

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _READ_BYTES:
            raise TooLargeError(f"A header of {self._what}", _READ_BYTES)
        content = self._stream.read(size)
        if self._stream.tell() > self._max_bytes:
            raise TooLargeError(f"{self._what}, unpacked,", self._max_bytes)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset > self._max_bytes:
            raise TooLargeError(f"{self._what}, unpacked,", self._max_bytes)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()


def check_directory(path: Path, what: str) -> None:
    """Refuse a zip whose list of members is absurd, before it is read.

    Raises:
        TooLargeError: it is longer than :data:`DIRECTORY_BYTES`.
    """
    end_bytes, locator_bytes, longest_comment = 22, 20, 0xFFFF
    with path.open("rb") as file:
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(max(0, size_bytes - end_bytes - locator_bytes - longest_comment))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        return  # no zip at all: its reader says so
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    extended = tail[max(0, at - locator_bytes) : at].startswith(b"PK\x06\x07")  # for more than 4 GB or 65,535 members
    if extended or directory_bytes > DIRECTORY_BYTES:
        raise TooLargeError(f"The list of members of {what}", DIRECTORY_BYTES)


def require_few(members: int, what: str) -> None:
    """
    Raises:
        SourceError: there are more than :data:`MAX_MEMBERS`.
    """
    if members > MAX_MEMBERS:
        raise SourceError(f"{what} has more than {MAX_MEMBERS} members; no package of models has")
