from __future__ import annotations

from math import log

import numpy as np
import pytest

from mmpipe.fusion.confidence import confidence
from mmpipe.types import ImageFeatures


def picture(*logits: float) -> ImageFeatures:
    return ImageFeatures(np.zeros(2, np.float32), np.zeros((2, 1, 1), np.float32), np.array(logits, np.float32))


def test_a_verdict_is_as_likely_to_be_right_as_it_was_to_be_said() -> None:
    assert confidence("Yes.", [log(0.8), log(0.9)], [picture(0.0, 0.0)]) == pytest.approx(0.72)


def test_a_name_is_no_surer_than_the_encoder() -> None:
    assert confidence("A cat.", [log(0.8)], [picture(0.0, 0.0)]) == pytest.approx(0.4)
    assert confidence("A cat.", [log(0.8)], [picture(50.0, 0.0)]) == pytest.approx(0.8)
    assert confidence("Not a cat.", [0.0], [picture(50.0, 0.0), picture(0.0, 0.0)]) == pytest.approx(0.5)


def test_an_encoder_without_classes_has_no_say() -> None:
    assert confidence("A cat.", [log(0.8)], [picture()]) == pytest.approx(0.8)
    assert confidence("", [], []) == 1.0
