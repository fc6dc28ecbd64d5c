"""Mutations that know where a container of sound keeps its lengths, its times and its rates."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

_EXTREMES = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 48_000, 768_001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62)

Order = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class Box:
    """``at``: where it begins; ``body``: where what it holds begins; ``end``: where that ends."""

    at: int
    body: int
    end: int
    size_at: int  # of the field that has its length
    size_width: int


def _mutator(walk: Callable[[bytearray], Sequence[Box]], order: Order) -> Callable[[Random, bytearray], bytearray]:
    """A box goes, comes again, changes places with another, gets another length, or another number in it."""

    def mutate(rng: Random, data: bytearray) -> bytearray:
        boxes = walk(data)
        if not boxes:
            return data
        box = rng.choice(boxes)
        match rng.randrange(8):
            case 0:
                del data[box.at : box.end]
            case 1:
                data[box.at : box.at] = data[box.at : box.end] * rng.choice((1, 1, 3, 30))
            case 2:
                other = rng.choice(boxes)
                if box.end <= other.at:
                    data[other.at : other.at] = data[box.at : box.end]
            case 3:
                left = rng.choice((0, 1, 4, 7, 8, 9, box.end - box.at - 1, box.end - box.at + 1, rng.choice(_EXTREMES)))
                _put(data, box.size_at, box.size_width, left, order)
            case _:
                if box.end > box.body:
                    width = rng.choice((1, 2, 2, 4, 4, 8))
                    at = box.body + rng.randrange(min(box.end - box.body, 200)) // min(width, 2) * min(width, 2)
                    value = rng.choice(_EXTREMES) if rng.random() < 0.8 else rng.getrandbits(8 * width)
                    _put(data, at, width, value, order)
        return data

    return mutate


def _put(data: bytearray, at: int, width: int, value: int, order: Order) -> None:
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)[: max(0, len(data) - at)]


# --- RIFF and its relatives ---


def _chunks(order: Order, width: int, start: int) -> Callable[[bytearray], list[Box]]:
    def walk(data: bytearray) -> list[Box]:
        found: list[Box] = []
        _walk(data, start, len(data), found)
        return found

    def _walk(data: bytearray, at: int, end: int, found: list[Box]) -> None:
        while at + 4 + width <= end and len(found) < 500:
            body = at + 4 + width
            stop = min(end, body + int.from_bytes(data[at + 4 : body], order))
            found.append(Box(at, body, stop, at + 4, width))
            if data[at : at + 4] == b"LIST":
                _walk(data, body + 4, stop, found)
            at = stop + stop % 2 * (width == 4)

    return walk


# --- ISO base media: MP4, MOV, M4A, 3GP, AVIF, JPEG 2000 ---

_HOLDERS = {
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"moof",
    b"traf",
    b"mvex",
    b"edts",
    b"udta",
    b"iprp",
    b"ipco",
    b"jp2h",
}


def _iso(data: bytearray) -> list[Box]:
    found: list[Box] = []

    def walk(at: int, end: int) -> None:
        while at + 8 <= end and len(found) < 500:
            stop = at + int.from_bytes(data[at : at + 4], "big")
            if not at + 8 <= stop <= end:
                return
            found.append(Box(at, at + 8, stop, at, 4))
            if bytes(data[at + 4 : at + 8]) in _HOLDERS:
                walk(at + 8, stop)
            elif data[at + 4 : at + 8] == b"stsd":
                walk(at + 16, stop)
            at = stop

    walk(0, len(data))
    return found


def iso_times(rng: Random, data: bytearray) -> bytearray:
    """How long samples last, when fragments begin, where the edit list leads."""
    kind = rng.choice(
        (b"stts", b"stts", b"ctts", b"elst", b"tfdt", b"mdhd", b"mvhd", b"trun", b"tfhd", b"stsz", b"stsc")
    )
    at = data.find(kind)
    if at >= 0:
        where = at + 8 + 4 * rng.randrange(8)
        _put(data, where, 4, rng.choice((*_EXTREMES, 1 << 20, 1 << 24)), "big")
    return data


# --- EBML: Matroska and WebM ---

#: Segment, Cluster, BlockGroup, Tracks, TrackEntry, Audio, Video, Cues, Info
_MASTERS = {0x18538067, 0x1F43B675, 0xA0, 0x1654AE6B, 0xAE, 0xE1, 0xE0, 0x1C53BB6B, 0x1549A966}


def ebml_boxes(data: bytearray) -> list[Box]:
    found: list[Box] = []

    def walk(at: int, end: int) -> None:
        while at < end and len(found) < 500:
            id_width = 9 - data[at].bit_length()
            size_at = at + id_width
            if id_width > 4 or size_at >= end:
                return
            size_width = 9 - data[size_at].bit_length()
            body = size_at + size_width
            if size_width > 8 or body > end:
                return
            size = int.from_bytes(data[size_at:body], "big") & ((1 << 7 * size_width) - 1)
            stop = min(end, body + size)
            found.append(Box(at, body, stop, size_at, size_width))
            if int.from_bytes(data[at:size_at], "big") in _MASTERS:
                walk(body, stop)
            at = stop

    walk(0, len(data))
    return found


def ebml_clock(rng: Random, data: bytearray) -> bytearray:
    """The time of one cluster, or of all, leaps: what lies between is a gap."""
    clocks = [box for box in ebml_boxes(data) if data[box.at : box.size_at] == b"\xe7"]
    leap_ms = rng.choice((500, 60_000, 3_000_000, 3_599_000, 3_700_000, 1 << 31, 1 << 40))
    for number, box in enumerate(reversed(clocks)):  # from behind: what lies before stays where it is
        if rng.random() < 0.7:
            value = leap_ms * (len(clocks) - number) % (1 << 64)
            data[box.at : box.end] = b"\xe7\x88" + value.to_bytes(8, "big")
    return data


def ebml_number(rng: Random, data: bytearray) -> bytearray:
    """Rate, rate of the output, channels, depth, scale of time, delay of the codec."""
    ids = (b"\xb5", b"\x78\xb5", b"\x9f", b"\x62\x64", b"\x2a\xd7\xb1", b"\x56\xaa", b"\x56\xbb", b"\x23\xe3\x83")
    places = [box for box in ebml_boxes(data) if bytes(data[box.at : box.size_at]) in ids and box.end > box.body]
    if places:
        box = rng.choice(places)
        width = box.end - box.body
        numbers = (0.0, -1.0, 1e-9, 3.0, 768_001.0, 2e9, 1e300, float("inf"), float("nan"))
        if width in (4, 8) and data[box.at : box.size_at] in (b"\xb5", b"\x78\xb5"):
            packed = (
                struct.pack(">d", rng.choice(numbers)) if width == 8 else struct.pack(">f", rng.choice(numbers[:6]))
            )
            data[box.body : box.end] = packed
        else:
            _put(data, box.body, width, rng.choice(_EXTREMES), "big")
    return data


# --- Ogg: pages whose checksums are right again after a mutation ---


def _crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
    return crc


def _crc_of(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    return crc


_CRC = [_crc_of(byte) for byte in range(256)]


def ogg_page(rng: Random, data: bytearray) -> bytearray:
    """Flags, time, serial number, sequence number, a lacing value, or a byte of what it holds."""
    pages, at = [], 0
    while data[at : at + 4] == b"OggS" and at + 27 <= len(data):
        lacing = at + 27 + data[at + 26]
        end = lacing + sum(data[at + 27 : lacing])
        pages.append((at, lacing, end))
        at = end
    if not pages:
        return data
    at, lacing, end = rng.choice(pages)
    match rng.randrange(7):
        case 0:
            data[at + 5] = rng.randrange(8)
        case 1 | 2:
            _put(data, at + 6, 8, rng.choice((*_EXTREMES, 48_000 * 3_500, 48_000 * 3_700, -1)), "little")
        case 3:
            _put(data, at + rng.choice((14, 18)), 4, rng.choice(_EXTREMES), "little")
        case 4 if lacing > at + 27:
            data[rng.randrange(at + 27, lacing)] = rng.choice((0, 1, 254, 255))
        case _ if end > lacing:
            where = rng.randrange(lacing, min(end, lacing + 100, len(data) + 1))
            _put(data, where, rng.choice((1, 2, 4)), rng.choice(_EXTREMES), "little")
        case _:
            pass
    data[at + 22 : at + 26] = bytes(4)
    data[at + 22 : at + 26] = struct.pack("<I", _crc(data[at:end]))
    return data


# --- MPEG transport streams: packets of 188 bytes ---


def ts_packet(rng: Random, data: bytearray) -> bytearray:
    """A packet goes, comes again, changes its program; or the clock of a stream leaps."""
    count = len(data) // 188
    if not count:
        return data
    at = 188 * rng.randrange(count)
    match rng.randrange(5):
        case 0:
            del data[at : at + 188]
        case 1:
            data[at:at] = data[at : at + 188] * rng.choice((1, 10))
        case 2:
            _put(data, at + 1, 2, rng.choice((0, 0x4000, 0x4100, 0x5FFF, 0x1FFF, 0x4FFF)), "big")
        case 3:
            data[at + 3] = rng.randrange(256)
        case _:
            starts = [
                at for at in range(len(data) - 14) if data[at : at + 3] == b"\0\0\1" and 0xBD <= data[at + 3] <= 0xEF
            ]
            for start in starts[rng.randrange(len(starts) + 1) :]:
                data[start + 10 : start + 14] = rng.randbytes(4)
    return data


def flac_header(rng: Random, data: bytearray) -> bytearray:
    """Sizes of blocks and frames, rate, channels, depth, length; or the length of a metadata block."""
    _put(data, rng.choice((5, 8, 10, 12, 15, 18, 20, 22, 43)), rng.choice((1, 2, 3)), rng.choice(_EXTREMES), "big")
    return data


RIFF = (_mutator(_chunks("little", 4, 12), "little"),)
AIFF = (_mutator(_chunks("big", 4, 12), "big"),)
CAF = (_mutator(_chunks("big", 8, 8), "big"),)
ISO = (_mutator(_iso, "big"), _mutator(_iso, "big"), iso_times)
EBML = (_mutator(ebml_boxes, "big"), ebml_clock, ebml_number)
OGG = (ogg_page,)
MPEG_TS = (ts_packet,)
FLAC = (flac_header,)
