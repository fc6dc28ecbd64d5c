"""Mutations that know where a picture's format keeps its numbers."""

from __future__ import annotations

import re
import struct
import zlib
from random import Random

_SIZES = (0, 1, 2, 7, 8, 9, 255, 256, 4_000, 8_001, 16_000, 32_767, 32_768, 65_500, 65_535)


# --- JPEG: markers, each with its length ---


def _segments(data: bytearray) -> list[tuple[int, int, int]]:
    """(offset of the marker, its type, offset behind its segment); the last is the first scan."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((at, data[at + 1], end))
        if data[at + 1] == 0xDA or end > len(data):
            break
        at = end
    return found


def jpeg_frame_type(rng: Random, data: bytearray) -> bytearray:
    """Baseline becomes progressive, lossless, arithmetic, hierarchical."""
    for at, kind, _ in _segments(data):
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            data[at + 1] = rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
    return data


def jpeg_frame(rng: Random, data: bytearray) -> bytearray:
    """Depth, height, width, number of components, or the sampling of one."""
    for at, kind, end in _segments(data):
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and end <= len(data) and end - at >= 13:
            match rng.randrange(4):
                case 0:
                    data[at + 4] = rng.choice((0, 1, 2, 8, 12, 16, 255))
                case 1:
                    data[at + 5 : at + 9] = struct.pack(">HH", rng.choice(_SIZES), rng.choice(_SIZES))
                case 2:
                    data[at + 9] = rng.choice((0, 1, 2, 3, 4, 5, 255))
                case _:
                    data[rng.randrange(at + 10, end)] = rng.choice((0, 0x11, 0x14, 0x21, 0x22, 0x41, 0x44, 0xFF))
    return data


def jpeg_length(rng: Random, data: bytearray) -> bytearray:
    at, _, _ = rng.choice(_segments(data) or [(2, 0, 0)])
    data[at + 2 : at + 4] = struct.pack(">H", rng.choice((0, 1, 2, 3, 8, 17, 64, 255, 4096, 65_535)))
    return data


def jpeg_segment(rng: Random, data: bytearray) -> bytearray:
    """A segment goes, comes again, or gets another type."""
    segments = _segments(data)
    if not segments:
        return data
    at, _, end = rng.choice(segments)
    match rng.randrange(3):
        case 0:
            del data[at:end]
        case 1:
            data[at:at] = data[at:end] * rng.choice((1, 1, 4, 50))
        case _:
            data[at + 1] = rng.randrange(0xC0, 0xFF)
    return data


def jpeg_scan_header(rng: Random, data: bytearray) -> bytearray:
    """Which coefficients a scan has, or whose."""
    for at, kind, end in _segments(data):
        if kind == 0xDA and at + 5 < end <= len(data):
            for where in rng.sample(range(at + 4, end), 2):
                data[where] = rng.choice((0, 1, 2, 3, 5, 0x10, 0x11, 63, 64, 255))
    return data


def jpeg_scans(rng: Random, data: bytearray) -> bytearray:
    """The scans come again, and again: each is decoded over the whole picture."""
    starts = [at for at, kind, _ in _segments(data) if kind == 0xDA]
    if starts:
        data[len(data) - 2 : len(data) - 2] = data[starts[0] : len(data) - 2] * rng.choice((1, 5, 50))
    return data


JPEG = (jpeg_frame_type, jpeg_frame, jpeg_frame, jpeg_length, jpeg_segment, jpeg_scan_header, jpeg_scans)


# --- PNG: chunks whose checksums are right again after a mutation ---


def _chunks(data: bytearray) -> list[tuple[int, int]]:
    """(offset, offset behind) of each chunk."""
    found, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        found.append((at, end))
        at = end
    return found


def png_chunk(rng: Random, data: bytearray) -> bytearray:
    """A number or a byte in a chunk, its type, its length; or it goes, or comes again."""
    chunks = _chunks(data)
    if not chunks:
        return data
    at, end = rng.choice(chunks[:1] + chunks)
    match rng.randrange(5):
        case 0 if end - at >= 16:
            where = at + 8 + rng.randrange(end - at - 12) // 4 * 4
            data[where : where + 4] = struct.pack(">I", rng.choice((*_SIZES, 1 << 31, (1 << 32) - 1)))[
                : end - 4 - where
            ]
        case 1 if end - at > 12:
            data[rng.randrange(at + 8, end - 4)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        case 2:
            data[at + 4 : at + 8] = rng.choice((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"zTXt", b"iCCP", b"acTL",
                                                b"fcTL", b"fdAT", b"eXIf"))  # fmt: skip
        case 3:
            data[at:at] = data[at:end] * rng.choice((1, 1, 20))
            return data
        case _:
            del data[at:end]
            return data
    data[end - 4 : end] = struct.pack(">I", zlib.crc32(data[at + 4 : end - 4]))
    return data


PNG = (png_chunk,)


# --- TIFF: twelve bytes an entry ---


#: Of size, depth, compression, layout, tiles, orientation, colours, extra samples.
_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 324, 330, 338, 339, 347)


def tiff_entry(rng: Random, data: bytearray) -> bytearray:
    """Tag, type, count or value of an entry of the first directory; or the place of the next one."""
    order = "<" if data[:1] == b"I" else ">"
    if len(data) < 8:
        return data
    (first,) = struct.unpack_from(order + "I", data, 4)
    if first + 2 > len(data):
        return data
    (entries,) = struct.unpack_from(order + "H", data, first)
    at = first + 2 + 12 * rng.randrange(min(entries, 40) + 1)
    if at + 12 > len(data):
        return data
    extremes = (*_SIZES, 1 << 20, 1 << 27, 1 << 31, (1 << 32) - 1, first, len(data) - 1)
    match rng.randrange(4):
        case 0:
            struct.pack_into(order + "H", data, at, rng.choice(_TAGS))
        case 1:
            struct.pack_into(order + "H", data, at + 2, rng.randrange(0, 20))
        case 2:
            struct.pack_into(order + "I", data, at + 4, rng.choice(extremes))
        case _:
            struct.pack_into(order + "I", data, at + 8, rng.choice(extremes))
    return data


def tiff_size(rng: Random, data: bytearray) -> bytearray:
    """Width, height, depth, compression, samples or rows in a strip."""
    order = "<" if data[:1] == b"I" else ">"
    for tag in rng.sample((256, 257, 258, 259, 277, 278, 317, 339), 2):
        at = data.find(struct.pack(order + "H", tag))
        if at >= 0 and at + 12 <= len(data):
            small = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 32_773, 32_946, 34_712, 50_000)
            struct.pack_into(
                order + "I", data, at + 8, rng.choice(small if tag in (258, 259, 277, 317, 339) else _SIZES)
            )
    return data


TIFF = (tiff_entry, tiff_entry, tiff_size)


# --- the others ---


def gif_size(rng: Random, data: bytearray) -> bytearray:
    """The size of the screen or of a frame, or its flags."""
    places = [6, *(match.start() + 5 for match in re.finditer(b"\x2c", data))]
    at = rng.choice(places)
    if at + 5 <= len(data):
        struct.pack_into("<HH", data, at, rng.choice(_SIZES), rng.choice(_SIZES))
        if rng.random() < 0.3:
            data[at + 4] = rng.randrange(256)
    return data


def bmp_header(rng: Random, data: bytearray) -> bytearray:
    at = rng.choice((2, 10, 14, 18, 22, 26, 28, 30, 34, 46))
    if at + 4 <= len(data):
        struct.pack_into("<i", data, at, rng.choice((*_SIZES, -1, -48, 2**31 - 1, -(2**31))))
    return data


def ppm_number(rng: Random, data: bytearray) -> bytearray:
    numbers = list(re.finditer(rb"\d+", data[:40]))
    if numbers:
        found = rng.choice(numbers)
        data[found.start() : found.end()] = rng.choice(
            (b"0", b"1", b"-1", b"65535", b"65536", b"99999999999", b"1e9", b"")
        )
    return data


def jpeg2000_marker(rng: Random, data: bytearray) -> bytearray:
    """The sizes of picture and tiles, the components, the levels."""
    kind = rng.choice((b"\xff\x51", b"\xff\x51", b"\xff\x52", b"\xff\x5c", b"\xff\x90"))
    at = data.find(kind)
    if at < 0:
        return data
    where = at + 4 + rng.randrange(40)
    width = rng.choice((1, 2, 4))
    extremes = (*_SIZES, 1 << 20, 1 << 31, (1 << 32) - 1)
    data[where : where + width] = (rng.choice(extremes) % (1 << 8 * width)).to_bytes(width, "big")
    return data


GIF, BMP, PPM, JPEG2000 = (gif_size,), (bmp_header,), (ppm_number,), (jpeg2000_marker,)
