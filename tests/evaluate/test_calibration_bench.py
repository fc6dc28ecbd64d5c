"""The figures that say how far confidence can be relied on, on answers of which all is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from mmpipe.evaluate.calibration_bench import _cost, _Marked, fit
from mmpipe.fusion.confidence import Scale, log_odds


def test_the_scale_that_answers_were_made_with_is_found_again() -> None:
    made, random = Scale(0.5, 1.0), np.random.default_rng(0)
    likelihoods = random.uniform(0.01, 0.99, 20_000).tolist()
    right = [bool(random.random() < made(value)) for value in likelihoods]
    found = fit(likelihoods, right)
    assert found.slope == pytest.approx(0.5, abs=0.05)
    assert found.intercept == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4, [False, False, True, True]])
def test_few_answers_that_are_all_alike_do_not_make_a_scale_without_bounds(right: list[bool]) -> None:
    found = fit([0.0001, 0.2, 0.5, 0.9999], right)
    assert 0 < found.slope < 3
    assert abs(found.intercept) < 3


def test_what_a_threshold_costs_is_counted() -> None:
    marked = [
        _Marked("name", "A cat.", 0.9, True),
        _Marked("name", "A dog.", 0.2, True),
        _Marked("name", "A fox.", 0.2, False),
        _Marked("presence", "Yes.", 0.2, True),  # on a scale of its own
        _Marked("beyond", "Red.", 0.2, False),
        _Marked("beyond", "I cannot tell.", 0.99, True),
        _Marked("beyond", "Blue.", 0.9, False),
    ]
    scales = {"name": Scale(1.0, 0.0), "yes or no": Scale(1.0, 5.0)}
    assert _cost(marked, scales, 0.5) == {
        "right answers lost": "1 of 4",
        "wrong answers spared": 1,
        "right where answered": "1.000 (0.34-1.00)",
        "refused beyond reach": "2 of 3",
    }
    assert _cost(marked, scales, 0.0)["right answers lost"] == "0 of 4"


def test_log_odds_of_what_is_certain_are_finite() -> None:
    assert log_odds(0.0) == pytest.approx(-9.21, abs=0.01)
    assert log_odds(1.0) == pytest.approx(9.21, abs=0.01)
