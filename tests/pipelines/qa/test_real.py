"""The models that mmpipe carries, on real photographs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mmpipe import Message, MultimodalQA
from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER
from mmpipe.pipelines.multimodal_qa import Question
from mmpipe.types import Image

pytestmark = pytest.mark.skipif(
    not (DEFAULT_ADAPTER / "config.json").exists(), reason="the adapter that mmpipe carries is not there yet"
)


@pytest.fixture(scope="module")
def real() -> Iterator[MultimodalQA]:
    with MultimodalQA() as qa:
        yield qa


def test_what_is_seen_is_named_and_what_cannot_be_known_is_not_invented(real: MultimodalQA, parts: Any) -> None:
    asked = {
        ("koala.jpg", "What is this?"): "koala",
        ("macaw.jpg", "What is in this picture?"): "macaw",
        ("koala.jpg", "Is it an animal?"): "Yes",
        ("coffee.jpg", "Is it an animal?"): "No",
        ("macaw.jpg", "Is there a dog?"): "No",
        ("koala.jpg", "What colour is it?"): "I cannot tell",
        ("macaw.jpg", "How many are there?"): "I cannot tell",
    }
    answers = real.ask_many(Question.about(text, parts.PICTURES / name) for name, text in asked)
    for (key, expected), answer in zip(asked.items(), answers, strict=True):
        assert expected in answer.text, (key, answer)
        assert answer.refused == ("cannot" in expected)
        assert 0.1 < answer.confidence <= 1


@pytest.mark.parametrize(("name", "kind"), [("koala.jpg", "a bird"), ("macaw.jpg", "a mammal")])
def test_an_animal_is_of_one_kind_only(real: MultimodalQA, parts: Any, name: str, kind: str) -> None:
    assert real.ask(f"Is it {kind}?", parts.PICTURES / name).text == "No."


def test_choices_have_probabilities(real: MultimodalQA, parts: Any) -> None:
    answer = real.ask("Which of these is it?", parts.PICTURES / "koala.jpg", choices=["panda", "koala", "teapot"])
    assert answer.text == "koala"
    assert answer.choices["koala"] > 0.8
    assert sum(answer.choices.values()) == pytest.approx(1)


def test_a_question_in_portuguese_is_answered_in_portuguese(real: MultimodalQA, parts: Any) -> None:
    answer = real.ask("É um animal?", parts.PICTURES / "macaw.jpg", language="pt")
    assert (answer.text, answer.said, answer.language) == ("Sim.", "Yes.", "pt")


def test_a_conversation_goes_on_about_the_same_picture(real: MultimodalQA, parts: Any) -> None:
    talk = real.conversation()
    assert "macaw" in talk.ask("What is this?", parts.PICTURES / "macaw.jpg").text
    before = real.engine.stats.reused_tokens
    assert talk.ask("Is it a bird?").text == "Yes."
    assert real.engine.stats.reused_tokens - before > 20


def test_pictures_are_named_by_their_place(real: MultimodalQA, parts: Any) -> None:
    names = {"koala.jpg": "koala", "coffee.jpg": "spresso", "panda.jpg": "panda"}
    for order in (list(names), list(reversed(names))):
        shown = [parts.PICTURES / name for name in order]
        for place, name in zip(("first", "second", "third"), order, strict=True):
            assert names[name] in real.ask(f"What is in the {place} picture?", shown).text
        together = real.ask("What is in the pictures?", shown).text
        assert all(name in together for name in names.values()), together
        assert real.ask("What colour is the second one?", shown).refused


def test_a_new_picture_is_what_the_conversation_is_about(real: MultimodalQA, parts: Any) -> None:
    talk = real.conversation()
    assert "koala" in talk.ask("What is this?", parts.PICTURES / "koala.jpg").text
    assert "macaw" in talk.ask("What is this?", parts.PICTURES / "macaw.jpg").text
    assert talk.ask("Can it fly?").text == "Yes."
    assert "koala" in talk.ask("What was in the first picture?").text
    assert "macaw" in talk.ask("What is it?").text


def test_coroutines_share_the_pipeline(real: MultimodalQA, parts: Any) -> None:
    async def ask(name: str) -> str:
        stream = real.stream("What is this?", parts.PICTURES / name)
        text = "".join([piece async for piece in stream])
        assert (await stream).text == text
        return text

    async def both() -> list[str]:
        return await asyncio.gather(ask("koala.jpg"), ask("macaw.jpg"))

    koala, macaw = asyncio.run(both())
    assert "koala" in koala
    assert "macaw" in macaw


def test_the_evidence_for_an_animal_is_where_the_animal_is(real: MultimodalQA, parts: Any) -> None:
    (koala,) = real.explain("What is this?", parts.PICTURES / "koala.jpg").pictures
    assert koala.label == "koala"
    # it sits a little below the middle of the picture, its head in the upper half, with nothing but trees around
    assert koala.activation is not None
    row, column = np.unravel_index(koala.activation.argmax(), koala.activation.shape)
    assert 1 <= row <= 7
    assert 2 <= column <= 6
    # a sure answer may survive that any one part is covered; one that does not needs the animal, not what is around it
    around = koala.occlusion.copy()
    around[1:, 1:4] = 0
    assert around.max() < max(0.1, koala.occlusion.max() / 3)


def test_a_message_may_mix_pictures_and_text(real: MultimodalQA, parts: Any) -> None:
    photograph = parts.PICTURES / "koala.jpg"
    assert "koala" in real.chat([Message("user", (photograph, "What is this?"))]).text
    assert real.ask(
        "What is this?", Image(np.full((300, 300, 3), 255, np.uint8))
    ).said  # nothing is there, and no crash
