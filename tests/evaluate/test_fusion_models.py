"""What the comparison runs, on a tiny language model: that it runs, and that the pictures count."""

from __future__ import annotations

import numpy as np
import pytest

from mmpipe.evaluate.fusion import Asked
from mmpipe.evaluate.fusion_models import cascade, fused
from mmpipe.evaluate.pairs import AskedOfPair
from mmpipe.fusion.strategies import Shapes, build
from mmpipe.fusion.training.packing import Turn
from mmpipe.generation.language_model import LanguageModel
from mmpipe.types import ImageFeatures

SHAPES = Shapes(6, (6, 2, 2), 4, 32)
ASKED = [
    Asked(picture, sort, question, ("x",))
    for picture in ("one", "two")
    for sort, question in (("name", "What?"), ("presence", "Is it?"))
]


@pytest.fixture
def features() -> dict[str, ImageFeatures]:
    random = np.random.default_rng(0)
    sizes = ((6,), (6, 2, 2), (4,))
    return {
        name: ImageFeatures(*(random.standard_normal(size).astype(np.float32) for size in sizes))
        for name in ("one", "two")
    }


@pytest.mark.parametrize(
    ("name", "settings"),
    [("prefix", {}), ("additive", {}), ("soft_words", {}), ("cross_attention", {"layers": 2, "every": 1, "grid": 1})],
)
def test_every_strategy_answers_through_the_engine(
    name: str, settings: dict[str, int], features: dict[str, ImageFeatures]
) -> None:
    lm, strategy = LanguageModel.tiny(), build(name, SHAPES, settings)
    for name, parameter in strategy.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(1.0)  # open
    strategy.attach(lm.model)
    answers = fused(lm, strategy.eval(), features, ASKED)
    assert answers[:2] != answers[2:]  # the questions are the same, the pictures are not
    assert all(0 <= answer.confidence <= 1 for answer in answers)


def test_pairs_are_told_apart_by_their_order(features: dict[str, ImageFeatures]) -> None:
    lm, strategy = LanguageModel.tiny(), build("prefix", SHAPES, {})
    asked = [
        AskedOfPair(pair, "first", "What?", (("x",),)) for pair in (("one", "two"), ("two", "one"), ("one", "two"))
    ]
    first, swapped, again = (answer.text for answer in fused(lm, strategy.eval(), features, asked))
    assert first == again != swapped


def test_what_was_said_before_is_part_of_the_question(features: dict[str, ImageFeatures]) -> None:
    lm, strategy = LanguageModel.tiny(), build("prefix", SHAPES, {})
    both = ("one", "two")
    asked = [
        AskedOfPair(both, "next", "What?", (("x",),), history=history)
        for history in ((Turn(1, "What is it?", "A cat."),), (Turn(1, "What is it?", "A dog."),), ())
    ]
    answers = [answer.text for answer in fused(lm, strategy.eval(), features, asked)]
    told = [answer.text for answer in cascade(lm, ["cat", "dog", "car", "jet"], features, asked)]
    assert len(set(answers)) == len(set(told)) == 3


def test_the_cascade_says_yes_or_no_to_what_is_asked_so(features: dict[str, ImageFeatures]) -> None:
    answers = cascade(LanguageModel.tiny(), ["cat", "dog", "car", "jet"], features, ASKED)
    assert {answers[1].text, answers[3].text} <= {"Yes.", "No."}
    assert answers[1].confidence >= 0.5
