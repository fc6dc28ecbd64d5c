from __future__ import annotations

import numpy as np
import pytest

from mmpipe.types import Image
from mmpipe.vision.efficientnet import EfficientNetLite
from mmpipe.vision.multilevel import MultiLevelEfficientNetLite


@pytest.fixture(scope="module")
def levels() -> MultiLevelEfficientNetLite:
    return MultiLevelEfficientNetLite("efficientnet-lite0", device="cpu", size_px=96)


def test_the_last_layer_comes_first_and_is_what_the_plain_encoder_gives(levels: MultiLevelEfficientNetLite) -> None:
    plain = EfficientNetLite("efficientnet-lite0", device="cpu")
    plain.size_px = 96
    picture = Image(np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    (ours,), (theirs,) = levels.run([picture]), plain.run([picture])
    np.testing.assert_allclose(ours.spatial[:1280], theirs.spatial, atol=1e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
    assert ours.spatial.shape == (2432, 3, 3)
    assert levels.identity != plain.identity


def test_earlier_layers_tell_apart_colours_and_where_they_are(levels: MultiLevelEfficientNetLite) -> None:
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:, :48, 0] = 255  # red on the left
    left, right = levels.run([Image(pixels), Image(pixels[:, ::-1].copy())])
    early = left.spatial[1280:].mean(1)  # over the height: (channels, 3)
    assert np.abs(early - right.spatial[1280:].mean(1)[:, ::-1]).mean() < 0.5 * np.abs(early[:, 0] - early[:, 2]).mean()
