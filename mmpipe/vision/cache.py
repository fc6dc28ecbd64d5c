"""Image features kept, so that the same picture is encoded once however often it is asked about."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What says what features are of, and by what: (digest of the picture, identity of the encoder).
Key = tuple[bytes, str]


class FeatureCache:
    """Features by what they are of, the ones longest not asked for dropped first. Any number of threads may use it.

    ``max_bytes``: of all features together. Features are shared by all who get them, and so cannot be written to.
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, ImageFeatures] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Of what is kept now."""
        return self._bytes

    def get(self, key: Key) -> ImageFeatures | None:
        with self._lock:
            features = self._kept.get(key)
            if features is not None:
                self._kept.move_to_end(key)
            return features

    def put(self, key: Key, features: ImageFeatures) -> None:
        for array in _arrays(features):
            array.flags.writeable = False
        with self._lock:
            self._drop(key)
            self._kept[key] = features
            self._bytes += _size_bytes(features)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        if key in self._kept:
            self._bytes -= _size_bytes(self._kept.pop(key))


class CachedEncoder(ImageEncoder):
    """An encoder that computes only what is not in the cache, each picture of a batch once.

    ``cache`` may be shared with other encoders: what they made is told apart by their identities. An encoder without
    an identity computes everything.
    """

    name = "cached"

    def __init__(self, encoder: ImageEncoder, cache: FeatureCache | None = None) -> None:
        self.encoder = encoder
        self.cache = cache or FeatureCache()
        self.labels = encoder.labels
        self.identity = encoder.identity
        self.max_items = encoder.max_items
        self.max_cost = encoder.max_cost

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        if not self.identity:
            return self.encoder.run(items)
        keys = [(digest(item), self.identity) for item in items]
        known = {key: features for key in keys if (features := self.cache.get(key)) is not None}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
        if missing:
            computed = self.encoder.run(list(missing.values()))
            for key, features in zip(missing, computed, strict=True):
                self.cache.put(key, features)
                known[key] = features
        return [known[key] for key in keys]

    def cost(self, item: Image) -> float:
        return self.encoder.cost(item)

    def warmup(self) -> None:
        self.encoder.warmup()

    def close(self) -> None:
        self.encoder.close()


def digest(image: Image) -> bytes:
    """What tells pictures apart by their pixels alone: the same picture from another file has the same digest."""
    shape = f"{image.width_px} {image.height_px} ".encode()
    return hashlib.blake2b(shape + image.pixels.tobytes(), digest_size=16).digest()


def _arrays(features: ImageFeatures) -> tuple[NDArray[np.float32], ...]:
    return features.pooled, features.spatial, features.logits


def _size_bytes(features: ImageFeatures) -> int:
    return sum(array.nbytes for array in _arrays(features))
