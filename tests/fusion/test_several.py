"""Questions about two and three pictures: every answer is checked against what the pictures are of."""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mmpipe.errors import InputError
from mmpipe.fusion.strategies import Shapes, build
from mmpipe.fusion.training.config import DataConfig
from mmpipe.fusion.training.data_free import DataFree
from mmpipe.fusion.training.multi_image_questions import MultiImageQuestionGenerator, Seen
from mmpipe.fusion.training.packing import Pack, Packer, Turn
from mmpipe.fusion.training.questions import NO, YES
from mmpipe.fusion.training.trainer import Fusion
from mmpipe.generation.chat import Message, render
from mmpipe.generation.language_model import LanguageModel
from mmpipe.vision.labels import Label, imagenet_labels

LABELS = imagenet_labels()
INDEX = {label.name.lower(): index for index, label in enumerate(LABELS)}
PLACES = {"first": 0, "second": 1, "third": 2, "1": 0, "2": 1, "3": 2}


@pytest.fixture(scope="module")
def examiner() -> MultiImageQuestionGenerator:
    return MultiImageQuestionGenerator(
        LABELS, [[(index + step) % len(LABELS) for step in (1, 2)] for index in range(len(LABELS))]
    )


def seen(*names: str, sure: float = 0.9) -> list[Seen]:
    made = []
    for name in names:
        probabilities = np.full(len(LABELS), (1 - sure) / (len(LABELS) - 1), np.float32)
        probabilities[INDEX[name]] = sure
        made.append(Seen(probabilities, INDEX[name]))
    return made


def asked(examiner: MultiImageQuestionGenerator, pictures: list[Seen], rounds: int = 300) -> list[tuple[str, str]]:
    random = Random(0)
    return [pair for _ in range(rounds) for pair in examiner.ask_of_several(pictures, random)]


def test_a_picture_is_asked_for_by_its_place(examiner: MultiImageQuestionGenerator) -> None:
    names = ("beagle", "banana", "jeep")
    for question, answer in asked(examiner, seen(*names)):
        place = re.search(r"\b(first|second|third|last|[123])\b", question.lower())
        if not place or "cannot" in answer:
            continue
        own = names[PLACES.get(place[0], 2)]
        if answer in (YES, NO):
            for name in names:
                if re.search(rf"\b{name}\b", question.lower()):
                    assert (answer == YES) == (name == own), question
        else:
            assert own in answer, question


def test_what_names_no_picture_is_about_all(examiner: MultiImageQuestionGenerator) -> None:
    pairs = asked(examiner, seen("beagle", "banana"))
    assert {answer for question, answer in pairs if "in the pictures" in question and answer[:2] == "A "} == {
        "A beagle and a banana."
    }
    everywhere = [(q.lower(), a) for q, a in pairs if re.search(r"any of the|in one of|anywhere", q.lower())]
    assert {a for q, a in everywhere if "beagle" in q or "banana" in q} == {YES}
    assert {a for _, a in everywhere} == {YES, NO}


def test_which_one_is_asked_only_where_it_is_one(examiner: MultiImageQuestionGenerator) -> None:
    for question, answer in asked(examiner, seen("beagle", "pug")):
        if answer in ("The first.", "The second."):
            assert not re.search(r"\b(a dog|an animal|a mammal)\b", question.lower()), question
        if "both" in question and answer == YES:
            assert re.search(r"\b(a dog|an animal|a mammal)\b", question.lower()), question
    counts = {answer for question, answer in asked(examiner, seen("beagle", "pug")) if "How many p" in question}
    assert "Two." in counts


def test_of_what_the_classifier_is_not_sure_the_answer_is_not(examiner: MultiImageQuestionGenerator) -> None:
    answers = {answer for _, answer in asked(examiner, [*seen("beagle"), *seen("banana", sure=0.2)])}
    assert "A beagle and perhaps a banana." in answers
    answers = {answer for _, answer in asked(examiner, [*seen("beagle", sure=0.01), *seen("banana")])}
    assert "Some kind of animal and a banana." in answers


def test_every_class_can_be_asked_about(examiner: MultiImageQuestionGenerator) -> None:
    random = Random(2)
    names = list(INDEX)
    for first, second in pairwise(names):
        pairs = examiner.ask_of_several(seen(first, second), random)
        assert len(pairs) == 13
        assert not any(mark in question for question, _ in pairs for mark in "{}")


SUBJECTS = [
    Label("", name, (), (kind,))
    for name, kind in (
        ("pug", "dog"),
        ("tabby", "cat"),
        ("jeep", "car"),
        ("bus", "car"),
        ("pot", "jar"),
        ("hat", "cap"),
    )
]


def test_a_row_is_what_the_pipeline_would_ask() -> None:
    lm, packer = LanguageModel.tiny(), Packer(LanguageModel.tiny(), 2)
    history = [Turn(1, "What?", "A cat."), Turn(0, "Is it?", "Yes.")]
    asked = [("user", (None, "What?")), ("assistant", "A cat."), ("user", "Is it?"), ("assistant", "Yes.")]
    for now in ((None,), (None, None), ()):
        ids = [*packer.prefix(len(now), history), *packer.question("And this?")]
        messages = [Message(*turn) for turn in (*asked, ("user", (*now, "And this?")))]
        assert ids == list(render(lm, messages, 2).token_ids)


def test_shares_of_rows_are_shares() -> None:
    with pytest.raises(ValidationError, match="at most 1"):
        DataConfig(recipe="data-free", several=0.8, turns=0.8)
    with pytest.raises(ValidationError, match="data-free recipe"):
        DataConfig(recipe="jsonl", turns=0.1)


def test_an_encoder_of_too_few_classes_is_refused() -> None:
    with pytest.raises(InputError, match="more than 3 classes"):
        DataFree(torch.zeros(3, 4), torch.zeros(3), SUBJECTS[:3], (2, 2))


@pytest.mark.parametrize("name", ["prefix", "soft_words", "additive", "cross_attention"])
def test_rows_of_several_pictures_have_the_loss_they_have_alone(name: str) -> None:
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    made = DataFree(weight, torch.zeros(6), SUBJECTS, (2, 2), seed=3, questions_per_row=3, several=0.4, turns=0.4)
    settings = {"layers": 2, "every": 1, "grid": 1} if name == "cross_attention" else {}
    lm = LanguageModel.tiny()
    strategy = build(name, Shapes(16, (16, 2, 2), 6, 32), {"ranks": 2} if name == "soft_words" else settings)
    for parameter_name, parameter in strategy.named_parameters():
        if parameter_name.endswith("gate"):
            parameter.data.fill_(1.0)  # open
    strategy.attach(lm.model)
    packer, fusion = Packer(lm, strategy.n_tokens), Fusion(lm, strategy)
    packs = made.batch(0, 8)
    assert len({len(pack.features) for pack in packs}) > 1
    shown_now = {len(pack.features) - sum(turn.pictures for turn in pack.history) for pack in packs if pack.history}
    assert {0, 1} <= shown_now
    with torch.no_grad():
        together, *_ = fusion(packer(packs))
        alone = [
            fusion(packer([Pack(pack.features, [pair], pack.history)]))[0] for pack in packs for pair in pack.pairs
        ]
    assert float(together) == pytest.approx(float(sum(alone)), rel=1e-4)
