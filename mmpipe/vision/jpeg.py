"""What the headers of a JPEG say about how it is decoded (ITU-T T.81, annex B)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from mmpipe.errors import ImageError

_SOI, _SOS = 0xD8, 0xDA
#: Start of frame, all of its kinds; 0xC4, 0xC8 and 0xCC among them are other things.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Baseline, extended sequential and progressive, with Huffman coding: what cameras, browsers and programs write. The
#: others are lossless, hierarchical or arithmetic; decoders are hardly ever tried with them, and it shows.
_KNOWN = frozenset({0xC0, 0xC1, 0xC2})
#: Headers of photographs hold previews and profiles of a few megabytes; 65,533 bytes are the most for one segment.
_MAX_SEGMENTS = 2_000


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """How a JPEG is coded. ``one_pass``: it is decoded row by row; else the coefficients of all of it are held, 2 bytes
    for each of ``components`` of a pixel."""

    components: int
    one_pass: bool


def read_frame(file: BinaryIO, name: str) -> JpegFrame:
    """Read the headers of ``file`` from its beginning up to the first scan, and go back to the beginning.

    This is stricter than libjpeg, which skips what it does not understand: both must come to the same frame.

    Raises:
        ImageError: there is no frame, more than one, or one of a kind that is not decoded here.
    """
    damaged = ImageError(f"{name} is damaged: its headers are no JPEG's. Copy or download it again, or save it anew")
    file.seek(0)
    if file.read(2) != bytes((0xFF, _SOI)):
        raise damaged
    frame: tuple[int, int] | None = None  # kind, components
    for _ in range(_MAX_SEGMENTS):
        marker, body = _segment(file)
        if marker is None:
            raise damaged
        if marker in _FRAMES:
            if frame is not None or len(body) < 6:
                raise damaged
            if marker not in _KNOWN:
                raise ImageError(
                    f"{name} is a JPEG of a rare kind (SOF{marker - 0xC0}), which is not read. Save it anew"
                )
            frame = marker, body[5]
        if marker == _SOS:
            if frame is None or not body:
                raise damaged
            file.seek(0)
            kind, components = frame
            return JpegFrame(components, one_pass=kind != 0xC2 and body[0] == components)
    raise damaged


def _segment(file: BinaryIO) -> tuple[int | None, bytes]:
    """The next marker and what belongs to it; None: there is none, or it is one that has no place in a header."""
    start = file.read(2)
    while start == b"\xff\xff":  # padding
        start = b"\xff" + file.read(1)
    if len(start) < 2 or start[0] != 0xFF or not 0xC0 <= start[1] <= 0xFE or 0xD0 <= start[1] <= 0xD9:
        return None, b""
    length = file.read(2)
    if len(length) < 2 or (size := struct.unpack(">H", length)[0]) < 2:
        return None, b""
    body = file.read(size - 2)
    return (start[1], body) if len(body) == size - 2 else (None, b"")
