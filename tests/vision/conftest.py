"""What the tests of pictures share: real photographs, and the encoder, loaded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mmpipe.types import Image
from mmpipe.vision.efficientnet import EfficientNetLite

PICTURES = Path(__file__).parents[1] / "data" / "pictures"


@pytest.fixture(scope="session")
def pictures() -> Path:
    return PICTURES


@pytest.fixture(scope="session")
def photos() -> dict[str, Image]:
    """The real photographs by file name."""
    return {path.name: Image(np.asarray(Pillow.open(path).convert("RGB"))) for path in sorted(PICTURES.glob("*.jpg"))}


@pytest.fixture(scope="session")
def lite0() -> EfficientNetLite:
    return EfficientNetLite("efficientnet-lite0", device="cpu")
