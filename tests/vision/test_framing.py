from __future__ import annotations

import numpy as np
import pytest

from mmpipe.types import Image
from mmpipe.vision.framing import MARGIN, squared, stretched


def cut_out(height: int, width: int, ground: tuple[int, int, int] = (255, 255, 255)) -> Image:
    """A red box that leaves a tenth free on each side."""
    pixels = np.full((height, width, 3), ground, np.uint8)
    pixels[height // 10 : -(height // 10), width // 10 : -(width // 10)] = (200, 0, 0)
    return Image(pixels)


def extent(reds: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(reds)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(("height", "width"), [(100, 400), (400, 100), (200, 200)])
def test_what_stands_before_an_even_background_keeps_its_proportions(height, width):
    square, (tall, wide) = squared(cut_out(height, width, (20, 60, 90)), 260)
    assert square.shape == (260, 260, 3)
    seen = extent(square[..., 0] > 110)
    assert seen[0] / seen[1] == pytest.approx(height / width, rel=0.05)
    assert max(tall, wide) == pytest.approx(1 / MARGIN, abs=0.01)
    assert tall / wide == pytest.approx(height / width, rel=0.02)
    np.testing.assert_array_equal(square[[0, 0, -1, -1], [0, -1, 0, -1]], [(20, 60, 90)] * 4)


def test_noise_of_a_scan_and_a_thing_that_touches_one_side_leave_a_background_even():
    pixels = cut_out(300, 100).pixels.astype(np.int16)
    pixels[250:, 30:70] = (200, 0, 0)
    noise = np.random.default_rng(0).integers(-4, 5, pixels.shape)
    _, share = squared(Image((pixels + noise).clip(0, 255).astype(np.uint8)), 240)
    assert share != (1.0, 1.0)


def test_photographs_are_stretched_and_shown_whole(photos):
    for photo in photos.values():
        square, share = squared(photo, 260)
        assert share == (1.0, 1.0)
        np.testing.assert_array_equal(square, stretched(photo, (260, 260)))


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (1, 1)])
def test_any_proportions_are_squared_in_little_memory(size):
    square, (tall, wide) = squared(Image(np.full((*size, 3), 7, np.uint8)), 224)
    assert square.shape == (224, 224, 3)
    assert (square == 7).all()
    assert 0 < tall <= 1
    assert 0 < wide <= 1


def test_the_places_of_the_features_are_places_of_the_picture(lite0, photos):
    # A cat at the right of a long white strip: the activation of its class is highest there.
    cat = stretched(photos["cat.jpg"], (200, 200))
    strip = np.full((220, 800, 3), 255, np.uint8)
    strip[10:210, 590:790] = cat
    (features,) = lite0.run([Image(strip)])
    heat = np.tensordot(lite0.classifier_weight[lite0.labels.index("tabby cat")], features.spatial, 1)
    assert heat.shape == (7, 7)
    assert heat.argmax() % 7 >= 4
    assert heat[:, 4:].mean() > heat[:, :4].mean()


def test_a_cut_out_in_a_batch_with_a_photograph_has_the_features_it_has_alone(lite0, photos):
    mixed = [cut_out(90, 300), photos["cat.jpg"]]
    for alone, together in zip((lite0.run([image])[0] for image in mixed), lite0.run(mixed), strict=True):
        np.testing.assert_allclose(alone.spatial, together.spatial, atol=2e-4)
        np.testing.assert_allclose(alone.logits, together.logits, atol=2e-4)
