"""Drawing over pictures: translations in place of the text that was read, and maps of what an answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, degrees, hypot
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.extras import require
from mmpipe.types import Image, TextLine
from mmpipe.vision.fonts import font_for

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from PIL.ImageFont import FreeTypeFont

# A translation may be broken into so many lines where one line was, if that lets the letters be larger.
_MAX_LINES = 3
_MIN_FONT_PX = 6
# Fonts leave more room above and below than text detectors do.
_TIGHT = 0.9
# Text is drawn so many times as large and scaled down, so that turned edges are smooth.
_OVERSAMPLING = 2
# Of the pixels of a line's box, those that are letters for sure: the part that differs most from the background.
_LETTER_PART = 0.04
# The least distance of letters from their background, 0..441 in RGB; nearer, they are drawn black or white.
_MIN_CONTRAST = 90.0
# From no evidence to the most: matplotlib's "inferno", at five places.
_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


def draw_texts(image: Image, lines: Sequence[TextLine], texts: Sequence[str], font: Path | None = None) -> Image:
    """``image`` with ``texts`` in place of ``lines``: each as large as fits, in the line's colours and slope.

    A line whose text is empty is left as it is. ``font``: a font file; None: one of our own that has the characters.

    Raises:
        InputError: no font at hand has a character of the texts.
        WeightsError: a font must be fetched for them, and cannot be.
        MissingDependencyError: Pillow is not installed.
    """
    pillow = require("PIL.Image", "ocr", "Drawing text")
    require("PIL.ImageDraw", "ocr", "Drawing text")
    canvas = pillow.fromarray(image.pixels)
    source = canvas.copy()
    pairs = [(_Plate.under(source, line), text.strip()) for line, text in zip(lines, texts, strict=True)]
    # All are wiped first: boxes of neighbouring lines overlap a little.
    for plate, text in pairs:
        if text:
            plate.wipe(canvas)
    for plate, text in pairs:
        if text:
            plate.write(canvas, text, font_for(text, font))
    return Image(np.asarray(canvas))


def draw_heat(image: Image, heat: NDArray[np.floating], strength: float = 0.7) -> Image:
    """``image`` in grey, and over it, the more ``heat`` the more, a colour from violet (little) to yellow (most).

    ``heat``: (h, w) of any size, stretched over the picture; its largest value counts as most, zero and less as none.
    ``strength``, 0..1: how much of the picture the most heat hides.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    pillow = require("PIL.Image", "qa", "Drawing a heat map")
    positive = np.maximum(np.nan_to_num(np.asarray(heat, np.float32)), 0)
    scaled = pillow.fromarray(positive / max(float(positive.max()), 1e-12))
    size = (image.width_px, image.height_px)
    level = np.clip(np.asarray(scaled.resize(size, pillow.Resampling.BICUBIC)), 0, 1)
    colour = np.stack([np.interp(level, np.linspace(0, 1, len(_RAMP)), channel) for channel in _RAMP.T], axis=-1)
    grey = np.asarray(pillow.fromarray(image.pixels).convert("L"), np.float32)[..., np.newaxis]
    opacity = strength * level[..., np.newaxis]
    return Image(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class _Plate:
    """The place of a line: where it is, and the colours of what it is written on and with."""

    corners: tuple[tuple[float, float], ...]
    width: int
    height: int
    slope_degrees: float  # clockwise, as y grows downwards
    ground: tuple[int, ...]
    ink: tuple[int, ...]

    @classmethod
    def under(cls, picture: Picture, line: TextLine) -> _Plate:
        from PIL import Image as Pillow

        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = line.corners
        width, height = max(1, round(hypot(x1 - x0, y1 - y0))), max(1, round(hypot(x3 - x0, y3 - y0)))
        quad = (x0, y0, x3, y3, x2, y2, x1, y1)  # Pillow goes round the other way
        straight = picture.transform((width, height), Pillow.Transform.QUAD, quad, Pillow.Resampling.BILINEAR)
        ground, ink = _colours(np.asarray(straight, np.float32))
        return cls(line.corners, width, height, degrees(atan2(y1 - y0, x1 - x0)), ground, ink)

    def wipe(self, canvas: Picture) -> None:
        from PIL import ImageDraw

        ImageDraw.Draw(canvas).polygon(self.corners, fill=self.ground)

    def write(self, canvas: Picture, text: str, font: FreeTypeFont) -> None:
        from PIL import Image as Pillow
        from PIL import ImageDraw

        width, height = self.width * _OVERSAMPLING, self.height * _OVERSAMPLING
        fitted, font = _fit(text, font, width, height)
        # Ink everywhere, and letters in its opacity alone: their edges get no rim of another colour.
        mask = Pillow.new("L", (width, height))
        ImageDraw.Draw(mask).multiline_text((width / 2, height / 2), fitted, 255, font, anchor="mm", align="center")
        mask = mask.rotate(-self.slope_degrees, Pillow.Resampling.BICUBIC, expand=True)
        mask = mask.resize(
            (max(1, mask.width // _OVERSAMPLING), max(1, mask.height // _OVERSAMPLING)), reducing_gap=2.0
        )
        left = round(sum(x for x, _ in self.corners) / 4 - mask.width / 2)
        top = round(sum(y for _, y in self.corners) / 4 - mask.height / 2)
        canvas.paste(self.ink, (left, top, left + mask.width, top + mask.height), mask)


def _colours(pixels: NDArray[np.float32]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours of the ground, which is all around a line, and of the ink on it. ``pixels``: (h, w, 3), the line."""
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(rim, axis=0)
    flat = pixels.reshape(-1, 3)
    distance = np.linalg.norm(flat - ground, axis=1)
    letters = np.argsort(distance)[-max(1, int(len(flat) * _LETTER_PART)) :]
    ink = np.median(flat[letters], axis=0)
    if np.linalg.norm(ink - ground) < _MIN_CONTRAST:
        ink = np.full(3, 0 if ground.mean() > 127 else 255, np.float32)
    return tuple(map(round, ground.tolist())), tuple(map(round, ink.tolist()))


def _fit(text: str, font: FreeTypeFont, width: int, height: int) -> tuple[str, FreeTypeFont]:
    """``text``, broken into lines so that it can be largest in ``width`` by ``height``, and the font at that size."""
    fits = [_largest(wrapped, font, width, height) for wrapped in _wrappings(text)]
    return max(fits, key=lambda fit: fit[1].size)


def _largest(text: str, font: FreeTypeFont, width: int, height: int) -> tuple[str, FreeTypeFont]:
    """By halving: the largest size at which all of ``text`` is within ``width`` and ``height``."""
    lines = text.split("\n")
    low, high = _MIN_FONT_PX, max(_MIN_FONT_PX, height)
    while low < high:
        middle = (low + high + 1) // 2
        tried = font.font_variant(size=middle)
        high_enough = len(lines) * sum(tried.getmetrics()) * _TIGHT <= height
        if high_enough and max(map(tried.getlength, lines)) <= width:
            low = middle
        else:
            high = middle - 1
    return text, font.font_variant(size=low)


def _wrappings(text: str) -> list[str]:
    """``text`` in one line, two, three, of about equal length, broken between words, or anywhere if it has none."""
    words = text.split()
    joint = " " if len(words) > 1 else ""
    pieces = words if len(words) > 1 else list(text)
    wrappings = []
    for count in range(1, min(_MAX_LINES, len(pieces)) + 1):
        lines, length = [""] * count, sum(map(len, pieces)) / count
        for piece in pieces:
            filled = sum(map(len, lines))
            at = min(int((filled + len(piece) / 2) / length), count - 1)
            lines[at] += joint * bool(lines[at]) + piece
        wrappings.append("\n".join(filter(None, lines)))
    return wrappings
