"""Opening media files and streams: which formats, over which protocols, for how long.

What a file says of itself decides which of libav's demuxers read it, whatever its name is. Some of them open what the
file names: a playlist another file or host, a device description a device. Only those are let in that read nothing but
the bytes they are given. Playlists are for addresses that were named on purpose, and reach no file from there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import av

from mmpipe.errors import MediaError
from mmpipe.files import reason

#: A path, a URL that is read over one of :data:`URL_SCHEMES`, or an open binary file.
FileSource = str | Path | BinaryIO

#: libav's names of the formats that are read.
DEMUXERS = (
    "aac", "ac3", "aiff", "amr", "amrnb", "amrwb", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "dtshd", "eac3",
    "flac", "flv", "gsm", "loas", "matroska", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "nut", "ogg", "oma",
    "rm", "sox", "tak", "truehd", "tta", "voc", "w64", "wav", "wv", "xwma",
)  # fmt: skip
#: What addresses may begin with.
URL_SCHEMES = ("http", "https")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"<?xml", b"<MPD")
_FILE_OPTIONS = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file"}
_URL_OPTIONS = {
    "format_whitelist": ",".join((*DEMUXERS, "hls")),
    "protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy",
}
_START_BYTES = 16
#: A host that does not answer, and one that sends less than a packet, are given up after this.
OPEN_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 30.0


def describe(source: object) -> str:
    """A short name of ``source`` for messages."""
    return str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "the given stream"))


def is_url(source: object) -> bool:
    """Whether ``source`` is an address, which may be slow, and cannot be interrupted while it is waited for."""
    return isinstance(source, str) and "://" in source and not source.startswith("file://")


def open_container(source: FileSource) -> Any:
    """Open ``source`` for reading: an ``av.container.InputContainer``, which the caller closes.

    Raises:
        MediaError: it is not there, may not be read, or is of no format that is read here.
    """
    name = describe(source)
    options, timeout = _FILE_OPTIONS, None
    if is_url(source):
        if (scheme := urlsplit(str(source)).scheme.lower()) not in URL_SCHEMES:
            raise MediaError(
                f"{name!r} cannot be read: {scheme or 'this kind of'} addresses are not. Use http or https."
            )
        options, timeout = _URL_OPTIONS, (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
    elif isinstance(source, str | Path):
        source = _checked(source, name)
    try:
        return av.open(source, metadata_errors="ignore", container_options=dict(options), timeout=timeout)
    except av.error.ExitError as error:
        raise MediaError(f"{name!r} did not answer within {OPEN_TIMEOUT_S:.0f} s. Try again later.") from error
    except PermissionError as error:
        raise MediaError(f"{name!r} may not be read: permission denied.") from error
    except Exception as error:  # damaged headers raise whatever they drive libav, or PyAV, to
        raise MediaError(_why(source, name, error)) from error


def _checked(source: str | Path, name: str) -> str:
    path = Path(str(source).removeprefix("file://"))
    if not path.exists():
        raise MediaError(f"There is no file {name!r}. Check the path.")
    if path.is_dir():
        raise MediaError(f"{name!r} is a directory. Name the recording inside it.")
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{name!r} is empty (0 bytes). Was its recording or download interrupted?")
    return str(path.absolute())  # of a bare "10:30.wav", libav would take "10" for a protocol


def _why(source: FileSource, name: str, error: Exception) -> str:
    """What to say of a file that could not be opened."""
    start = b""
    with suppress(Exception):
        if isinstance(source, str | Path):
            with Path(source).open("rb") as file:
                start = file.read(_START_BYTES)
        else:
            source.seek(0)
            start = source.read(_START_BYTES)
    if start.startswith(_PICTURES):
        return f"{name!r} holds a picture: there is nothing to listen to."
    if start.startswith(_PLAYLISTS):
        return f"{name!r} is a list of other files, which are not opened. Give the recording itself."
    return f"{name!r} cannot be read as sound or video ({reason(error)}). Is it a media file?"
