from __future__ import annotations

from itertools import pairwise
from math import log

import numpy as np
import pytest

from mmpipe.fusion.confidence import NAME, VERDICT, Scale, confidence, likelihood, shares
from mmpipe.types import ImageFeatures


def picture(*logits: float) -> ImageFeatures:
    return ImageFeatures(np.zeros(2, np.float32), np.zeros((2, 1, 1), np.float32), np.array(logits, np.float32))


def test_a_verdict_is_as_likely_as_it_was_to_be_said() -> None:
    assert likelihood("Yes.", [log(0.8), log(0.9)], [picture(0.0, 0.0)]) == pytest.approx(0.72)


def test_a_name_is_no_likelier_than_the_encoder_makes_it() -> None:
    assert likelihood("A cat.", [log(0.8)], [picture(0.0, 0.0)]) == pytest.approx(0.4)
    assert likelihood("A cat.", [log(0.8)], [picture(50.0, 0.0)]) == pytest.approx(0.8)
    assert likelihood("Not a cat.", [0.0], [picture(50.0, 0.0), picture(0.0, 0.0)]) == pytest.approx(0.5)


def test_an_encoder_without_classes_has_no_say() -> None:
    assert likelihood("A cat.", [log(0.8)], [picture()]) == pytest.approx(0.8)
    assert likelihood("", [], []) == 1.0


@pytest.mark.parametrize(("answer", "scale"), [("No, it is not.", VERDICT), ("A cat.", NAME), ("", NAME)])
def test_confidence_is_a_probability_that_rises_with_the_likelihood(answer: str, scale: Scale) -> None:
    sure = [confidence(answer, [log(value)]) for value in (1e-300, 0.01, 0.2, 0.5, 0.9, 1.0)]
    assert all(0 < low < high < 1 for low, high in pairwise(sure[1:-1]))
    assert 0 < sure[0] < 1
    assert 0 < sure[-1] < 1
    assert sure[2] == pytest.approx(scale(0.2))


def test_a_scale_that_changes_nothing_gives_what_it_got() -> None:
    assert Scale(1.0, 0.0)(0.3) == pytest.approx(0.3)
    assert Scale(1.0, log(3))(0.5) == pytest.approx(0.75)


def test_choices_share_what_is_likely() -> None:
    assert shares([log(0.16), log(0.04)]) == pytest.approx([0.8, 0.2])
    assert sum(shares([-900.0, -1000.0, -2000.0])) == pytest.approx(1)
