"""Fonts that are there on any machine: none of the system's is relied on.

``data/NotoSans-Regular.ttf`` is Noto Sans (SIL Open Font License, ``data/LICENSE-NotoSans.txt``) cut down to Latin,
Greek and Cyrillic letters. What it lacks is drawn with Noto Sans SC (Chinese, Japanese kana), which is fetched when it
is first needed.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from mmpipe.errors import InputError
from mmpipe.extras import require
from mmpipe.files import reason
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.ImageFont import FreeTypeFont

_ANY_SIZE_PX = 16
_NO_CHARACTER = "\uffff"  # by definition none: what a font draws for it, it draws for all that it does not have


def font_for(text: str, path: Path | None = None) -> FreeTypeFont:
    """A font that has every character of ``text``, at some size: its ``font_variant(size=...)`` gives others.

    ``path``: a font file to use instead of our own.

    Raises:
        InputError: a character is in no font that is at hand, or ``path`` is no font.
        WeightsError: Noto Sans SC is needed and cannot be had.
        MissingDependencyError: Pillow is not installed.
    """
    require("PIL.ImageFont", "ocr", "Drawing text")
    missing: list[str] = []
    for font in (_open(path),) if path else _own():
        missing = sorted(char for char in set(text) if not _has(font, char))
        if not missing:
            return font
    raise InputError(f"{path or 'Every font at hand'} lacks {' '.join(missing)}. Name a font file that has them.")


def _own() -> Iterator[FreeTypeFont]:
    """Our fonts, the one that need not be fetched first."""
    yield _latin()
    yield _chinese()


@cache
def _latin() -> FreeTypeFont:
    return _open(BytesIO(files("mmpipe.vision").joinpath("data/NotoSans-Regular.ttf").read_bytes()))


@cache
def _chinese() -> FreeTypeFont:
    return _open(fetch("noto-sans-sc") / "regular.otf")


def _open(file: Path | BytesIO) -> FreeTypeFont:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(file, _ANY_SIZE_PX)
    except OSError as error:
        raise InputError(f"{file} is no TrueType or OpenType font: {reason(error)}. Name another.") from error


def _has(font: FreeTypeFont, char: str) -> bool:
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask(_NO_CHARACTER))
