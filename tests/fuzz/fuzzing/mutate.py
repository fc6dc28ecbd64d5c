"""Damages the content of a file. Everything follows from the random numbers that are given: the same, each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from fuzzing import boxes, pictures

Mutator = Callable[[Random, bytearray], bytearray]

MAX_MUTATIONS = 4
MAX_BYTES = 1_000_000  # of a mutated file: thousands a minute

#: What breaks arithmetic, at any width.
_EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 62,
    (1 << 64) - 1,
)


def flip_bits(rng: Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def set_run(rng: Random, data: bytearray) -> bytearray:
    """A run of bytes becomes all the same, or noise."""
    at, size = rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 256))
    run = rng.randbytes(size) if rng.random() < 0.5 else bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * size
    data[at : at + size] = run[: len(data) - at]
    return data


def truncate(rng: Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(1, len(data) + 1)]


def delete_block(rng: Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 8, 100, 1000))]
    return data


def duplicate_block(rng: Random, data: bytearray) -> bytearray:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 16, 188, 1000))
    data[at:at] = data[at : at + size] * rng.choice((1, 1, 2, 10, 100))
    return data


def swap_blocks(rng: Random, data: bytearray) -> bytearray:
    size = rng.choice((1, 4, 16, 188))
    here, there = rng.randrange(len(data)), rng.randrange(len(data))
    if abs(here - there) >= size and max(here, there) + size <= len(data):
        data[here : here + size], data[there : there + size] = data[there : there + size], data[here : here + size]
    return data


def overwrite_integer(rng: Random, data: bytearray) -> bytearray:
    """At a boundary of 2, 4 or 8 bytes, mostly near the start, where headers are."""
    width = rng.choice((2, 4, 8))
    at = rng.randrange(min(len(data), rng.choice((64, 512, len(data))))) // width * width
    value = rng.choice(_EXTREMES) if rng.random() < 0.7 else rng.getrandbits(8 * width)
    whole = (value % (1 << 8 * width)).to_bytes(width, rng.choice(("big", "little")))
    data[at : at + width] = whole[: len(data) - at]
    return data


def count_on(rng: Random, data: bytearray) -> bytearray:
    """A number of a header becomes a little more or less, or many times itself."""
    width, order = rng.choice((1, 2, 4)), rng.choice(("big", "little"))
    at = rng.randrange(min(len(data), 1024))
    value = int.from_bytes(data[at : at + width], order)
    changed = value + rng.choice((-1, 1, -value, value, 255 * value))
    data[at : at + width] = (changed % (1 << 8 * width)).to_bytes(width, order)[: len(data) - at]
    return data


_GENERIC: tuple[Mutator, ...] = (
    flip_bits, set_run, truncate, delete_block, duplicate_block, swap_blocks, overwrite_integer, overwrite_integer,
    count_on,
)  # fmt: skip


def mutate(rng: Random, name: str, seeds: Mapping[str, bytes]) -> bytes:
    """The content of the seed ``name``, with one to four mutations, half of them such as know its format."""
    data = bytearray(seeds[name])
    if rng.random() < 0.05:
        data = _splice(rng, data, seeds[rng.choice(sorted(seeds))])
    for _ in range(rng.randint(1, MAX_MUTATIONS)):
        knowing = _knowing(data)
        mutators: Sequence[Mutator] = knowing if knowing and rng.random() < 0.6 else _GENERIC
        data = rng.choice(mutators)(rng, data)[:MAX_BYTES]
        if not data:
            return b""
    return bytes(data)


def _splice(rng: Random, head: bytearray, tail: bytes) -> bytearray:
    """The start of one file, the end of another."""
    return head[: rng.randrange(1, len(head) + 1)] + tail[rng.randrange(len(tail)) :]


def _knowing(data: bytearray) -> Sequence[Mutator]:
    """Mutators that know what ``data`` is by now."""
    return next((found for signature, at, found in _FORMATS if data[at : at + len(signature)] == signature), ())


_FORMATS: tuple[tuple[bytes, int, Sequence[Mutator]], ...] = (
    (b"\xff\xd8\xff", 0, pictures.JPEG),
    (b"\x89PNG", 0, pictures.PNG),
    (b"II*\0", 0, pictures.TIFF),
    (b"MM\0*", 0, pictures.TIFF),
    (b"GIF8", 0, pictures.GIF),
    (b"BM", 0, pictures.BMP),
    (b"P", 0, pictures.PPM),
    (b"\xff\x4f\xff\x51", 0, pictures.JPEG2000),
    (b"RIFF", 0, boxes.RIFF),
    (b"FORM", 0, boxes.AIFF),
    (b"caff", 0, boxes.CAF),
    (b"ftyp", 4, boxes.ISO),
    (b"jP  ", 4, (*boxes.ISO, *pictures.JPEG2000)),
    (b"\x1a\x45\xdf\xa3", 0, boxes.EBML),
    (b"OggS", 0, boxes.OGG),
    (b"\x47", 0, boxes.MPEG_TS),
    (b"fLaC", 0, boxes.FLAC),
)
