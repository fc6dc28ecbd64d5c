"""Reading and writing pictures with Pillow, in bounded memory whatever the file says."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mmpipe.errors import ImageError
from mmpipe.extras import require
from mmpipe.files import reason, writing
from mmpipe.types import Image
from mmpipe.vision.jpeg import read_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

#: No photograph is larger; what is, is not looked into.
MAX_FILE_BYTES = 100 * 2**20
#: What is decoded at most, in memory and in pixels: more than nearly all cameras take.
MAX_DECODED_BYTES = 640_000_000
MAX_DECODED_PX = 64_000_000
#: A plain JPEG can be shrunk up to 8 times a side while it is decoded, and so may have 64 times as many.
MAX_JPEG_PX = 1_000_000_000
#: What is kept at most: a page of print at 300 dots an inch.
MAX_KEPT_PX = 9_000_000
#: What a decoder, Pillow and what is made of it here take for a pixel; what is kept comes on top.
BYTES_PER_PX = {"PNG": 10, "GIF": 8, "BMP": 8, "PPM": 8, "TIFF": 16, "WEBP": 20, "AVIF": 20, "JPEG2000": 28}
#: Colours are converted so many pixels at a time.
_BAND_PX = 1_000_000

# Formats that Pillow reads by itself. Not EPS: it would run Ghostscript. Not ICO: decoded before its size is known.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
_JPEG_START = b"\xff\xd8\xff"
_MAGIC_BYTES = 16  # as many as Pillow's formats are told by
_START_BYTES = 512  # what is looked at to say what a file is that is no picture


class IsolatedImage(ABC):
    """A picture that is decoded somewhere else, as :class:`mmpipe.untrusted.UntrustedImage` is in a process of its own.
    ``name``: for messages."""

    name: str

    @abstractmethod
    def load(self, max_px: int) -> Image:
        """As :func:`load`."""


def load(
    source: str | Path | bytes | BinaryIO | IsolatedImage,
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_px: int = MAX_KEPT_PX,
) -> Image:
    """Read a picture: a path, the bytes of a file, or an open file.

    It comes upright (EXIF orientation is applied), what is transparent on white, of an animation or several pages
    the first. One with more than ``max_px`` pixels is scaled down to that.

    Raises:
        ImageError: there is no picture there, it is damaged, or it is larger than ``max_file_bytes`` or than
            :data:`MAX_DECODED_PX`, for a plain JPEG :data:`MAX_JPEG_PX`, or would take :data:`MAX_DECODED_BYTES`.
        MissingDependencyError: Pillow is not installed.
    """
    if isinstance(source, IsolatedImage):
        return source.load(max_px)
    require("PIL.Image", "ocr", "Reading pictures")
    name = _name(source)
    file = _open_file(source, name, max_file_bytes)
    with file:
        start = file.read(_START_BYTES)
        file.seek(0)
        try:
            return Image(_pixels(*_open_picture(file, start, name), max_px))
        except ImageError:
            raise
        except Exception as error:  # Pillow's decoders raise what their formats drive them to
            raise ImageError(_why(name, start, error)) from error


def read(path: str | Path, *, max_file_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a picture's file, for :func:`load`.

    Raises:
        ImageError: there is no such file, it is empty, or larger than ``max_file_bytes``.
    """
    with _open_file(path, _name(path), max_file_bytes) as file:
        return file.read()


def save(image: Image, path: Path) -> None:
    """Write a PNG. A file that is there is replaced as a whole, or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    pillow = require("PIL.Image", "ocr", "Writing pictures")
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            pillow.fromarray(image.pixels).save(partial, format="PNG")
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _name(source: str | Path | bytes | BinaryIO) -> str:
    name = source if isinstance(source, str | Path) else getattr(source, "name", None)
    return repr(str(name)) if isinstance(name, str | Path) else "The picture"


def _open_file(source: str | Path | bytes | BinaryIO, name: str, max_bytes: int) -> BinaryIO:
    too_big = f"{name} has more than {max_bytes / 2**20:.0f} MB. Save it smaller"
    if isinstance(source, bytes):
        content = source
    elif isinstance(source, str | Path):
        path = Path(source)
        try:
            size_bytes = path.stat().st_size
            file = path.open("rb")
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            hint = " Download it first" if str(source).startswith(("http://", "https://")) else " Check the path"
            raise ImageError(f"Cannot read {name}: {reason(error)}.{hint}") from error
        if not size_bytes:
            file.close()
            raise ImageError(f"{name} is empty. Copy or download it again")
        if size_bytes > max_bytes:
            file.close()
            raise ImageError(too_big)
        return file
    else:
        content = source.read(max_bytes + 1)
    if not content:
        raise ImageError(f"{name} is empty: no bytes were given")
    if len(content) > max_bytes:
        raise ImageError(too_big)
    return io.BytesIO(content)


def _open_picture(file: BinaryIO, start: bytes, name: str) -> tuple[Picture, bool]:
    """The picture, its header read and nothing decoded yet, and whether it can be shrunk while it is decoded.

    libjpeg shrinks a JPEG that it decodes row by row. What has several passes it could shrink, too, but holds all of it
    first. Of other kinds of frames it writes more than it has room for when it is told to: they are never decoded.
    """
    frame = read_frame(file, name) if start.startswith(_JPEG_START) else None
    picture = _recognized(file, start)
    if frame is not None and frame.one_pass:
        limit_px = MAX_JPEG_PX
    else:
        per_px = 2 * frame.components + 6 if frame is not None else BYTES_PER_PX[str(picture.format)]
        limit_px = min(MAX_DECODED_PX, MAX_DECODED_BYTES // per_px)
    if picture.width * picture.height > limit_px:
        raise ImageError(
            f"{name} has {picture.width} x {picture.height} pixels; mmpipe decodes up to {limit_px / 1e6:.0f} million "
            "of this kind. Save it smaller"
        )
    return picture, frame is not None and frame.one_pass


def _recognized(file: BinaryIO, start: bytes) -> Picture:
    """Not by Pillow's own door: that has a limit of its own, which turns away what could be shrunk while decoding, and
    takes a damaged header for an unknown format."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError
    from PIL.JpegImagePlugin import JpegImageFile

    if start.startswith(_JPEG_START):
        return JpegImageFile(file)  # Pillow's factory would look for further pictures in it
    Pillow.init()
    for known in FORMATS:
        factory, accepts = Pillow.OPEN[known]
        if accepts is not None and accepts(start[:_MAGIC_BYTES]) is True:
            return factory(file, "")
    raise UnidentifiedImageError


def _pixels(picture: Picture, shrinks: bool, max_px: int) -> NDArray[np.uint8]:
    from PIL import Image as Pillow

    size = _within(picture, max_px)
    if shrinks and size != picture.size:
        picture.draft(None, size)  # what it can while it decodes
    picture.load()
    turned = _orientation(picture)
    coloured, size = _in_colour(picture), _within(picture, max_px)
    if size != coloured.size:
        coloured = coloured.resize(size, Pillow.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(coloured if turned is None else coloured.transpose(turned))


def _within(picture: Picture, max_px: int) -> tuple[int, int]:
    """The size at which ``picture`` has at most ``max_px`` pixels: its own if it has no more."""
    scale = (max_px / (picture.width * picture.height)) ** 0.5
    if scale >= 1:
        return picture.size
    return max(1, int(picture.width * scale)), max(1, int(picture.height * scale))


def _orientation(picture: Picture) -> Any:
    """How to turn it upright, a ``PIL.Image.Transpose``; None: it is."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    with suppress(Exception):  # EXIF data may be as broken as they like: the picture is whole
        turns: dict[Any, Transpose] = {
            2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
        }  # fmt: skip
        return turns.get(picture.getexif().get(Base.Orientation))
    return None


def _in_colour(picture: Picture) -> Picture:
    """8-bit RGB of whatever it is, made band by band: on the way some kinds take several times their room."""
    from PIL import Image as Pillow

    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    measured = _range(picture) if picture.mode in ("I", "F") else None
    coloured = Pillow.new("RGB", picture.size)
    for top, band in _bands(picture):
        if picture.mode.startswith(("I", "F")):
            band = Pillow.fromarray(_eight_bits(np.asarray(band), measured))
        if picture.has_transparency_data:
            band.info = picture.info  # where the transparent colour stands
            layer = band.convert("RGBA")
            band = Pillow.new("RGBA", layer.size, "white")
            band.alpha_composite(layer)
        coloured.paste(band.convert("RGB"), (0, top))
    return coloured


def _bands(picture: Picture) -> Iterator[tuple[int, Picture]]:
    """(first row, that and the rows that follow it), a few at a time."""
    rows = max(1, ceil(_BAND_PX / picture.width))
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _range(picture: Picture) -> tuple[float, float]:
    """The lowest and the highest value of grey of 32 bits or floating point, whose range nobody knows."""
    ends = []
    for _, band in _bands(picture):
        finite = _finite(np.asarray(band))
        ends.append((float(finite.min()), float(finite.max())))
    return min(low for low, _ in ends), max(high for _, high in ends)


def _finite(grey: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)


def _eight_bits(grey: NDArray[Any], measured: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Grey of 16 bits as 8 bits; what has a range that was ``measured``, from its lowest to its highest."""
    if measured is None:
        return (grey.astype(np.uint16) >> 8).astype(np.uint8)
    low, high = measured
    return np.asarray(np.interp(_finite(grey), (low, max(high, low + 1e-12)), (0, 255)), np.uint8)


def _why(name: str, start: bytes, error: Exception) -> str:
    """What to say of a file that could not be read and begins with ``start``."""
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return f"{name} is a HEIC picture, which cannot be read here. Save it as JPEG or PNG"
    if start.lstrip()[:5].lower() in (b"<?xml", b"<svg ") or b"<svg" in start:
        return f"{name} is an SVG drawing or XML, not a picture of pixels. Export it as PNG"
    if start.startswith(b"%PDF"):
        return f"{name} is a PDF document. Export its pages as PNG"
    if _is_text(start):
        return f"{name} is text, whatever its name says, not a picture"
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"{name} is no picture that can be read. Known formats: {', '.join(FORMATS)}"
    return f"{name} is damaged: {reason(error)}. Copy or download it again, or save it anew"


def _is_text(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(start) < _START_BYTES or error.start < len(start) - 3:  # the last character may have been cut in two
            return False
    return not any(byte < ord("\t") for byte in start)
