from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures
from mmpipe.vision.cache import CachedEncoder, FeatureCache, digest


def grey(value: int, height: int = 2, width: int = 3) -> Image:
    return Image(np.full((height, width, 3), value, np.uint8))


def features(value: float = 0.0) -> ImageFeatures:
    """112 bytes."""
    return ImageFeatures(
        np.full(4, value, np.float32), np.full((4, 2, 2), value, np.float32), np.full(8, value, np.float32)
    )


class Counting(ImageEncoder):
    """Gives the grey value of a picture, and remembers what it was asked to compute."""

    labels = ("a", "b")
    max_items = 5

    def __init__(self, identity: str = "counting") -> None:
        self.identity = identity
        self.batches: list[list[int]] = []

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        self.batches.append([int(item.pixels[0, 0, 0]) for item in items])
        return [features(float(item.pixels[0, 0, 0])) for item in items]


def values(found: list[ImageFeatures]) -> list[float]:
    return [float(f.pooled[0]) for f in found]


def test_only_what_is_new_is_computed_and_each_picture_once():
    encoder = Counting()
    cached = CachedEncoder(encoder)
    assert values(cached.run([grey(1), grey(2), grey(1)])) == [1, 2, 1]
    assert values(cached.run([grey(2), grey(3), grey(1)])) == [2, 3, 1]
    assert values(cached.run([grey(3)])) == [3]
    assert encoder.batches == [[1, 2], [3]]


def test_encoders_can_share_a_cache_and_never_take_what_another_made():
    cache = FeatureCache()
    one, same, other = Counting("one"), Counting("one"), Counting("other")
    for encoder in (one, same, other):
        CachedEncoder(encoder, cache).run([grey(7)])
    assert (one.batches, same.batches, other.batches) == ([[7]], [], [[7]])


def test_an_encoder_that_does_not_say_what_it_is_computes_every_time():
    encoder = Counting("")
    cached = CachedEncoder(encoder)
    assert values(cached.run([grey(1)]) + cached.run([grey(1)])) == [1, 1]
    assert encoder.batches == [[1], [1]]


def test_it_is_batched_as_the_encoder_wants():
    cached = CachedEncoder(Counting())
    assert (cached.labels, cached.identity, cached.max_items) == (("a", "b"), "counting", 5)


def test_what_was_asked_for_longest_ago_goes_first():
    cache = FeatureCache(max_bytes=2 * 112)
    for name in (b"a", b"b"):
        cache.put((name, ""), features())
    assert cache.get((b"a", ""))
    cache.put((b"c", ""), features())
    assert [cache.get((name, "")) is not None for name in (b"a", b"b", b"c")] == [True, False, True]
    assert cache.size_bytes == 2 * 112


def test_putting_the_same_again_takes_no_more_room():
    cache = FeatureCache()
    for _ in range(3):
        cache.put((b"a", ""), features())
    assert cache.size_bytes == 112


def test_what_is_larger_than_the_cache_is_not_kept_and_still_given():
    cached = CachedEncoder(Counting(), FeatureCache(max_bytes=100))
    assert values(cached.run([grey(1), grey(2)])) == [1, 2]
    assert cached.cache.size_bytes == 0


def test_kept_features_cannot_be_changed_by_who_got_them():
    (found,) = CachedEncoder(Counting()).run([grey(1)])
    with pytest.raises(ValueError, match="read-only"):
        found.pooled[0] = 5


def test_pictures_differ_by_their_pixels_and_by_their_shape():
    assert digest(grey(1)) == digest(grey(1))
    assert len({digest(grey(1)), digest(grey(2)), digest(grey(1, 3, 2)), digest(grey(1, 1, 6))}) == 4
    strided = Image(np.full((2, 6, 3), 1, np.uint8)[:, ::2])
    assert digest(strided) == digest(grey(1))


def test_many_threads_leave_it_in_order():
    cache = FeatureCache(max_bytes=10 * 112)

    def use(start: int) -> None:
        for i in range(200):
            key = (bytes([(start + i) % 20]), "")
            if cache.get(key) is None:
                cache.put(key, features())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert cache.size_bytes == 10 * 112
    assert sum(cache.get((bytes([i]), "")) is not None for i in range(20)) == 10
