"""From where a picture lies to its features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpipe.batching import Batcher, BatchSettings, Device
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures
from mmpipe.vision import images
from mmpipe.vision.cache import CachedEncoder

#: Where a picture comes from: a path, the bytes of a file, or a picture that was read before.
ImageSource = str | Path | bytes | Image
#: What is kept of a picture to look at it, 3 MB. Encoders see less; a camera's picture is decoded four times as fast.
LOOK_PX = 1_000_000


def load(source: ImageSource) -> Image:
    """The picture, in the size in which it is looked at.

    Raises:
        ImageError: it cannot be read.
    """
    return source if isinstance(source, Image) else images.load(source, max_px=LOOK_PX)


class Eyes:
    """An encoder whose features are kept, behind a batcher: pictures of different questions share batches."""

    def __init__(self, encoder: ImageEncoder, device: Device) -> None:
        cached = CachedEncoder(encoder)
        settings = BatchSettings(max_items=cached.max_items, max_cost=cached.max_cost)
        self._batcher = Batcher(cached, settings, device=device)

    def look(self, pictures: Iterable[ImageSource]) -> Sequence[ImageFeatures]:
        """Features of each. Only a few batches of pictures are in memory at any time.

        Raises: as :func:`load`.
        """
        return self._batcher.run(load(picture) for picture in pictures)

    def close(self) -> None:
        self._batcher.close(drain=False)
