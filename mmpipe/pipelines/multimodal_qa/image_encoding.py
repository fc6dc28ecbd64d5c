"""From where a picture lies to its features."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mmpipe.batching import Batcher, BatchOptions, Device
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures
from mmpipe.vision import images
from mmpipe.vision.cache import CachedEncoder


@dataclass(frozen=True, slots=True, eq=False)
class ImageBytes:
    """What a file held when it was shown, whatever becomes of it."""

    name: str
    content: bytes

    @classmethod
    def of(cls, path: str | Path) -> ImageBytes:
        """Raises: ImageError: there is no such file, it is empty or too large."""
        return cls(str(path), images.read(path))

    def open(self) -> BinaryIO:
        file = io.BytesIO(self.content)
        file.name = self.name  # for error messages
        return file


#: Where a picture comes from: a path, the bytes of a file, a picture that was read before, or a stranger.
ImageSource = str | Path | bytes | Image | ImageBytes | images.IsolatedImage
#: What is kept of a picture to look at it, 3 MB. Encoders see less; a camera's picture is decoded four times as fast.
LOOK_PX = 1_000_000


def load(source: ImageSource) -> Image:
    """The picture, in the size in which it is looked at.

    Raises:
        ImageError: it cannot be read.
    """
    return _read(source, LOOK_PX)


def load_in_full(source: ImageSource) -> Image:
    """The picture as large as a page of print has to be to be read.

    Raises:
        ImageError: it cannot be read.
    """
    return _read(source, images.MAX_KEPT_PX)


def _read(source: ImageSource, max_px: int) -> Image:
    if isinstance(source, Image):
        return source
    return images.load(source.open() if isinstance(source, ImageBytes) else source, max_px=max_px)


class BatchedImageEncoder:
    """An encoder whose features are kept, behind a batcher: pictures of different questions share batches."""

    def __init__(self, encoder: ImageEncoder, device: Device) -> None:
        cached = CachedEncoder(encoder)
        options = BatchOptions(max_items=cached.max_items, max_cost=cached.max_cost)
        self._batcher = Batcher(cached, options, device=device)

    def look(self, pictures: Iterable[ImageSource]) -> Sequence[ImageFeatures]:
        """Features of each. Only a few batches of pictures are in memory at any time.

        Raises: as :func:`load`.
        """
        return self._batcher.run(load(picture) for picture in pictures)

    def close(self) -> None:
        self._batcher.close(drain=False)
