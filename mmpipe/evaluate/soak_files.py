"""Files that a hostile visitor uploads, made in code: small, and of a kind that costs time or memory.

None makes a library write where it must not: no lossless JPEG is made here, and :func:`mutated` never leaves one.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

#: Markers of lossless JPEG frames (SOF3, SOF7, SOF11, SOF15).
_LOSSLESS = tuple(bytes((0xFF, code)) for code in (0xC3, 0xC7, 0xCB, 0xCF))
_JPEG = b"\xff\xd8"
_EBML = bytes.fromhex("1a45dfa3")


# --- sound and video --------------------------------------------------------------------------------------------------


def playlist(path: Path) -> bytes:
    """An HLS playlist whose only piece is a file of the server."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path.absolute()}\n#EXT-X-ENDLIST\n".encode()


def concat_list(path: Path) -> bytes:
    """A list for ffmpeg's concat demuxer that names a file of the server."""
    return f"ffconcat version 1.0\nfile '{path.absolute()}'\n".encode()


def session_description() -> bytes:
    """An SDP file, which makes a reader wait for packets from the network."""
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=x", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio 9 RTP/AVP 0")
    return "\r\n".join((*lines, "")).encode()


def wav(rate_hz: int, channels: int = 1, seconds_of_data: float = 0.01) -> bytes:
    """A WAV of silence that says whatever it is told of its rate and its channels."""
    data = bytes(max(2, min(round(16_000 * seconds_of_data), 65_536) * 2))
    rate, block = rate_hz % 2**32, (2 * channels) % 2**16
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block % 2**32, block, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jumping_webm(jump_s: float = 3_600.0) -> bytes:
    """A WebM of PCM, 20 ms, and 20 ms more after a jump of the clock."""
    sound = bytes(2 * 160)
    track = _element("d7", b"\x01") + _element("73c5", b"\x01") + _element("83", b"\x02")
    audio = _element("b5", struct.pack(">d", 8_000.0)) + _element("9f", b"\x01") + _element("6264", b"\x10")
    track += _element("86", b"A_PCM/INT/LIT") + _element("e1", audio)
    header = b"".join(
        _element(code, value)
        for code, value in (("4286", b"\x01"), ("42f7", b"\x01"), ("42f2", b"\x04"), ("42f3", b"\x08"),
                            ("4282", b"matroska"), ("4287", b"\x04"), ("4285", b"\x02"))
    )  # fmt: skip
    info = _element("2ad7b1", (1_000_000).to_bytes(4, "big"))
    block = _element("a3", b"\x81\0\0\x80" + sound)
    clusters = b"".join(
        _element("1f43b675", _element("e7", round(1000 * at_s).to_bytes(8, "big")) + block)
        for at_s in (0.0, 0.02, jump_s, jump_s + 0.02)
    )  # fmt: skip
    segment = _element("1549a966", info) + _element("1654ae6b", _element("ae", track)) + clusters
    return _EBML + _size(len(header)) + header + _element("18538067", segment)


def _element(code: str, value: bytes) -> bytes:
    return bytes.fromhex(code) + _size(len(value)) + value


def _size(length: int) -> bytes:
    return (length | 1 << 56).to_bytes(8, "big")


def jumping_ogg(ogg: bytes, jump: int = 48_000 * 3_600) -> bytes:
    """``ogg`` with a clock that jumps in its middle: later pages say that they end ``jump`` samples later."""
    pages = _ogg_pages(ogg)
    out = []
    for n, page in enumerate(pages):
        (position,) = struct.unpack_from("<q", page, 6)
        if n > len(pages) // 2 and position > 0:
            page = page[:6] + struct.pack("<q", position + jump) + page[14:]
            page = page[:22] + bytes(4) + page[26:]
            page = page[:22] + struct.pack("<I", _ogg_checksum(page)) + page[26:]
        out.append(page)
    return b"".join(out)


def _ogg_pages(ogg: bytes) -> list[bytes]:
    starts = []
    at = 0
    while (at := ogg.find(b"OggS", at)) >= 0:
        starts.append(at)
        at += 4
    return [ogg[a:b] for a, b in zip(starts, [*starts[1:], len(ogg)], strict=True)]


@cache
def _ogg_table() -> tuple[int, ...]:
    table = []
    for n in range(256):
        remainder = n << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(remainder)
    return tuple(table)


def _ogg_checksum(page: bytes) -> int:
    table, total = _ogg_table(), 0
    for byte in page:
        total = (total << 8 & 0xFFFFFFFF) ^ table[(total >> 24) ^ byte]
    return total


# --- pictures ---------------------------------------------------------------------------------------------------------


def png(width: int, height: int, *, rows: int | None = None) -> bytes:
    """A black PNG of one bit a pixel; ``rows``: so many of its rows are there, the rest is missing."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    data = b"".join(compressor.compress(row) for _ in range(height if rows is None else rows)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def float_tiff(width: int, height: int) -> bytes:
    """A TIFF of 32-bit floats, all of them 0, in one strip that is compressed to next to nothing."""
    compressor = zlib.compressobj(9)
    row = bytes(4 * width)
    strip = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    tags = (
        (256, 4, width), (257, 4, height), (258, 3, 32), (259, 3, 8), (262, 3, 1), (273, 4, 0), (277, 3, 1),
        (278, 4, height), (279, 4, len(strip)), (339, 3, 3),
    )  # fmt: skip
    strip_at = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, strip_at if tag == 273 else value) for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


def compressed(form: str, side: int) -> bytes:
    """A picture of one color, as Pillow writes it.

    Args:
        form: "WEBP" or "JPEG2000".
        side: of the square, in pixels.
    """
    from PIL import Image

    file = io.BytesIO()
    extra = {"lossless": True, "method": 0} if form == "WEBP" else {"irreversible": True}
    Image.new("L" if form == "JPEG2000" else "RGB", (side, side)).save(file, form, **extra)
    return file.getvalue()


def jpeg2000_header(width: int, height: int) -> bytes:
    """A JPEG 2000 that says it is large, and ends soon after."""
    whole = compressed("JPEG2000", 64)
    at = whole.index(b"\xff\x51") + 6  # SIZ: marker, length, capabilities; then the sizes
    image = struct.pack(">II", width, height)
    tiles = at + 16
    out = whole[:at] + image + whole[at + 8 : tiles] + image + whole[tiles + 8 :]
    box = out.find(b"ihdr")
    return out[: box + 4] + struct.pack(">II", height, width) + out[box + 12 :] if box > 0 else out


def many_scans_jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A JPEG of ``width`` x ``height`` whose scans hold one color each, so that a reader keeps all of it; what they
    hold ends soon."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (32, 32), (90, 120, 40)).save(file, "JPEG", progressive=progressive, subsampling=0)
    whole = file.getvalue()
    frame = whole.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    whole = whole[: frame + 5] + struct.pack(">HH", height, width) + whole[frame + 9 :]
    if progressive:
        return whole
    first = whole.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", whole, first + 2)
    data = whole[first + 2 + length : -2]
    scans = b"".join(
        b"\xff\xda\0\x08\x01" + bytes((component, tables, 0, 63, 0)) + data
        for component, tables in ((1, 0x00), (2, 0x11), (3, 0x11))
    )
    return whole[:first] + scans + b"\xff\xd9"


# --- damage -----------------------------------------------------------------------------------------------------------


def truncated(whole: bytes, rng: random.Random) -> bytes:
    """The beginning of a file."""
    return whole[: rng.randrange(1, max(2, len(whole)))]


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """A file with a few bytes changed, most of them near its beginning. Never a JPEG that says it is lossless."""
    while True:
        out = bytearray(whole)
        keep = len(_JPEG) if whole.startswith(_JPEG) else 0  # or nobody would look into it
        for _ in range(rng.randrange(1, 24)):
            end = len(out) if rng.random() < 0.4 else min(len(out), 400)
            out[rng.randrange(keep, end)] = rng.randrange(256)
        if harmless(bytes(out)):
            return bytes(out)


def harmless(data: bytes) -> bool:
    """Whether ``data`` is no JPEG, or holds nothing that can be taken for the frame of a lossless one."""
    return not (data.startswith(_JPEG) and any(marker in data for marker in _LOSSLESS))


# --- all of them ------------------------------------------------------------------------------------------------------


class HostileFiles:
    """What there is to upload: each made when it is first wanted, and kept.

    Args:
        sound: an Ogg file, the base of what is damaged.
        pictures: pictures, likewise.
        secret: a file of the machine that playlists name.
    """

    def __init__(self, sound: bytes, pictures: tuple[bytes, ...], secret: Path) -> None:
        self.sound = sound
        self.pictures = tuple(picture for picture in pictures if harmless(picture))
        self._made: dict[str, bytes] = {}
        self._media: dict[str, Callable[[], bytes]] = {
            "playlist.m3u8": lambda: playlist(secret),
            "list.ffconcat": lambda: concat_list(secret),
            "session.sdp": session_description,
            "gap.webm": jumping_webm,
            "gap.ogg": lambda: jumping_ogg(sound),
            "fast.wav": lambda: wav(2_000_000_000),
            "channels.wav": lambda: wav(16_000, 60_000),
            "still.wav": lambda: wav(1),
        }
        self._pictures: dict[str, Callable[[], bytes]] = {
            "rows.png": lambda: png(30_000, 30_000, rows=64),
            "large.png": lambda: png(7_900, 7_900),
            "float.tiff": lambda: float_tiff(7_000, 7_000),
            "flat.webp": lambda: compressed("WEBP", 7_000),
            "flat.jp2": lambda: compressed("JPEG2000", 4_000),
            "header.jp2": lambda: jpeg2000_header(60_000, 60_000),
            "scans.jpg": lambda: many_scans_jpeg(12_000, 12_000),
            "progressive.jpg": lambda: many_scans_jpeg(7_900, 7_900, progressive=True),
        }

    def media(self, rng: random.Random) -> tuple[str, bytes]:
        """One of the hostile recordings: name and content."""
        return self._one(self._media, rng)

    def picture(self, rng: random.Random) -> tuple[str, bytes]:
        """One of the hostile pictures: name and content."""
        return self._one(self._pictures, rng)

    def _one(self, makers: dict[str, Callable[[], bytes]], rng: random.Random) -> tuple[str, bytes]:
        name = rng.choice(sorted(makers))
        if name not in self._made:
            self._made[name] = makers[name]()
        return name, self._made[name]

    def make_all(self) -> None:
        """Make all of them now: some take a moment, which is not to be the soak's."""
        for name, make in {**self._media, **self._pictures}.items():
            self._made.setdefault(name, make())

    def damaged_sound(self, rng: random.Random) -> tuple[str, bytes]:
        """A recording that is cut off, or damaged."""
        return "damaged.ogg", rng.choice((truncated, mutated))(self.sound, rng)

    def damaged_picture(self, rng: random.Random) -> tuple[str, bytes]:
        """A picture that is cut off, or damaged."""
        return "damaged.jpg", rng.choice((truncated, mutated))(rng.choice(self.pictures), rng)
