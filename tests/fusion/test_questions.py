from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from mmpipe.evaluate.fusion import BEYOND, PARAPHRASES
from mmpipe.fusion.training.questions import NO, YES, Examiner, wordings
from mmpipe.fusion.training.simulate import Simulator
from mmpipe.vision.labels import imagenet_labels

LABELS = imagenet_labels()
BEAGLE = next(index for index, label in enumerate(LABELS) if label.name.lower() == "beagle")


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(LABELS, [[(index + step) % len(LABELS) for step in (1, 2)] for index in range(len(LABELS))])


def probabilities(sure: float, index: int = BEAGLE) -> np.ndarray:
    made = np.full(len(LABELS), (1 - sure) / (len(LABELS) - 1), np.float32)
    made[index] = sure
    return made


def asked(examiner: Examiner, sure: float, rounds: int = 200) -> list[tuple[str, str]]:
    random = Random(0)
    return [pair for _ in range(rounds) for pair in examiner.ask(probabilities(sure), BEAGLE, random)]


def test_what_is_there_is_affirmed_and_what_is_not_is_denied(examiner: Examiner) -> None:
    for question, answer in asked(examiner, 0.9):
        if answer in (YES, NO) and "beagle" in question.lower():
            assert answer == YES, question
        if answer == YES:
            assert "poodle" not in question.lower(), question


def test_how_sure_the_classifier_is_decides_how_sure_the_answer_is(examiner: Examiner) -> None:
    said = {sure: {answer for _, answer in asked(examiner, sure)} for sure in (0.9, 0.2, 0.01)}
    assert "A beagle." in said[0.9]
    assert not any(answer.startswith("Perhaps") for answer in said[0.9])
    assert "Perhaps a beagle." in said[0.2]
    assert not any(answer.startswith("Perhaps") for answer in said[0.01])


def test_questions_beyond_its_reach_are_always_among_them(examiner: Examiner) -> None:
    random = Random(1)
    for _ in range(50):
        assert wordings()["beyond"]["answer"] in dict(examiner.ask(probabilities(0.9), BEAGLE, random)).values()


def test_every_class_can_be_asked_about(examiner: Examiner) -> None:
    random = Random(2)
    for index in range(len(LABELS)):
        pairs = examiner.ask(probabilities(0.9, index), index, random)
        assert len(pairs) == 12
        assert not any(mark in question for question, _ in pairs for mark in "{}")


def test_the_wordings_of_the_evaluation_are_not_trained_on() -> None:
    trained = {question.lower() for lines in wordings().values() for question in _strings(lines)}
    trained |= {part for question in trained for part in question.split("|")}
    for question in (*BEYOND, *(line for lines in PARAPHRASES.values() for line in lines)):
        for slot in ("{a_name}", "{a_kind}", ""):
            assert question.lower().replace("{x}", slot) not in trained


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [text for part in parts for text in _strings(part)] if isinstance(value, dict | list) else []


def test_made_up_pictures_are_mostly_of_what_the_classifier_says() -> None:
    weight = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    simulator = Simulator(weight, torch.zeros(40))
    first, again = (simulator.draw(200, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.logits, again.logits)
    assert torch.allclose(first.logits, first.pooled @ weight.T, atol=1e-4)
    agrees = (first.logits.argmax(1) == first.truth).float().mean()
    assert 0.6 < agrees < 1.0  # now and then it is wrong, as real ones are
