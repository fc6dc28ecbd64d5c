"""What an answer rests on, where it is known what it must rest on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from mmpipe import Image, MultimodalQA
from mmpipe.errors import InputError, OutputError
from mmpipe.evaluate import evidence_bench
from mmpipe.evaluate.fusion import Shown
from mmpipe.generation.sampling import SamplingOptions
from mmpipe.pipelines.multimodal_qa.explaining import GRID, class_activation, cover
from mmpipe.vision import images

Make = Callable[..., MultimodalQA]


@pytest.fixture
def peephole(make: Make, parts: Any) -> MultimodalQA:
    """Sees nothing but the top left of a picture."""

    class Peephole(parts.Colours):  # type: ignore[misc, name-defined]
        def _features(self, image: Image) -> Any:
            return super()._features(Image(image.pixels[: image.height_px // 5, : image.width_px // 5]))

    return make(fused_model=parts.fused(encoder=Peephole()))


def test_covering_what_is_not_seen_changes_nothing_and_covering_what_is_does(
    peephole: MultimodalQA, parts: Any
) -> None:
    evidence = peephole.explain("What is this?", parts.RED, max_new_tokens=8)
    (found,) = evidence.pictures
    assert found.occlusion.shape == (GRID, GRID)
    elsewhere = found.occlusion.copy()
    elsewhere[0, 0] = 0
    assert np.abs(elsewhere).max() < 1e-3
    assert found.occlusion[0, 0] > 0.1


def test_evidence_belongs_to_the_answer_and_to_each_picture(qa: MultimodalQA, parts: Any) -> None:
    answer = qa.ask("What is this?", [parts.RED, parts.BLUE], max_new_tokens=8)
    evidence = qa.explain("What is this?", [parts.RED, parts.BLUE], max_new_tokens=8)
    assert evidence.answer.text == answer.text
    assert evidence.answer.confidence == pytest.approx(answer.confidence, rel=1e-3)
    assert [found.label for found in evidence.pictures] == ["red thing", "blue thing"]
    attention = [found.attention for found in evidence.pictures]
    assert [part.shape for part in attention] == [(len(evidence.tokens), qa.model.strategy.n_tokens)] * 2
    shares = sum(part.sum(axis=1) for part in attention)
    assert (shares > 0).all()
    assert (shares < 1).all()


def test_a_conversation_explains_its_last_answer_by_all_that_was_shown(qa: MultimodalQA, parts: Any) -> None:
    talk = qa.conversation()
    with pytest.raises(InputError, match="no answer yet"):
        talk.explain()
    talk.ask("What is this?", parts.RED, max_new_tokens=4)
    answer = talk.ask("And this?", parts.BLUE, max_new_tokens=8)
    before = talk.messages
    evidence = talk.explain()
    assert (evidence.answer.question, evidence.answer.text) == ("And this?", answer.text)
    assert [found.label for found in evidence.pictures] == ["red thing", "blue thing"]
    assert evidence.answer.confidence == pytest.approx(answer.confidence, rel=1e-3)
    assert talk.messages == before


def test_an_answer_that_was_drawn_is_explained_as_it_was_given(qa: MultimodalQA, parts: Any) -> None:
    talk = qa.conversation()
    drawn = SamplingOptions(temperature=3.0)  # another answer each time
    answers = {qa.ask("What is this?", parts.RED, sampling=drawn, max_new_tokens=8).text for _ in range(3)}
    assert len(answers) > 1
    given = talk.ask("What is this?", parts.RED, sampling=drawn, max_new_tokens=8)
    evidence = talk.explain()
    assert evidence.answer.text == given.text
    assert evidence.answer.confidence == pytest.approx(given.confidence, rel=1e-3)


def test_an_answer_that_was_read_was_not_generated(qa: MultimodalQA, parts: Any) -> None:
    talk = qa.conversation()
    assert talk.ask("What does it say?", parts.RED).read is not None
    with pytest.raises(InputError, match="read in the picture"):
        talk.explain()


def test_the_class_activation_adds_up_to_the_logit(parts: Any) -> None:
    rng = np.random.default_rng(0)
    encoder = parts.Colours()
    (features,) = encoder.run([Image(rng.integers(0, 255, (40, 40, 3), np.uint8))])
    label, probability, activation = class_activation(encoder, features, "Is it blue?")
    assert label == encoder.labels[features.logits.argmax()]
    assert activation is not None
    assert activation.mean() == pytest.approx(features.logits.max(), rel=1e-5)
    odds = np.exp(features.logits)
    assert probability == pytest.approx(odds.max() / odds.sum(), rel=1e-5)


def test_the_class_that_is_spoken_of_is_looked_for(parts: Any) -> None:
    encoder = parts.Colours()
    (features,) = encoder.run([parts.RED])
    assert class_activation(encoder, features, "No.\nIs there a green thing?")[0] == "green thing"
    assert class_activation(encoder, features, "Blue things.\nIs there a green thing?")[0] == "blue thing"
    assert class_activation(encoder, features, "A green thing and a red thing.\nWhat is it?")[0] == "red thing"


@pytest.mark.parametrize(("width_px", "height_px"), [(47, 33), (1, 1), (3, 700)])
def test_every_part_of_a_picture_is_covered_by_the_cell_it_lies_in(width_px: int, height_px: int) -> None:
    picture = Image(np.full((height_px, width_px, 3), 250, np.uint8))
    each = np.eye(GRID * GRID, dtype=bool).reshape(-1, GRID, GRID)
    hidden = [(cover(picture, cells).pixels == 127).all(axis=2).astype(int) for cells in each]
    assert (sum(hidden) == 1).all()
    assert np.array_equal(sum(hidden[:GRID]), (cover(picture, each[:GRID].any(axis=0)).pixels == 127).all(axis=2))
    assert (picture.pixels == 250).all()


def test_evidence_is_kept_as_a_picture_and_as_numbers(qa: MultimodalQA, parts: Any, tmp_path: Path) -> None:
    wide = Image(np.zeros((10, 200, 3), np.uint8))
    evidence = qa.explain("What is this?", [parts.RED, wide], max_new_tokens=4)
    evidence.save(tmp_path / "why.png")
    drawn = images.load(tmp_path / "why.png")
    assert drawn.width_px > 3 * 320
    assert drawn.height_px > 320
    numbers = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert numbers["question"] == "What is this?"
    assert numbers["tokens"] == list(evidence.tokens)
    assert np.allclose(numbers["pictures"][0]["occlusion_nats"], evidence.pictures[0].occlusion, atol=1e-3)
    assert np.allclose(numbers["pictures"][1]["class_activation"], evidence.pictures[1].activation, atol=1e-3)
    with pytest.raises(OutputError, match="make it first"):
        evidence.save(tmp_path / "no" / "why.png")


def test_there_is_evidence_for_answers_in_own_words_only(qa: MultimodalQA, parts: Any) -> None:
    with pytest.raises(InputError, match="own words"):
        qa.explain("Is it?", parts.RED, choices=["yes", "no"])


def test_the_bench_finds_that_deleting_what_is_seen_hurts_more(peephole: MultimodalQA, parts: Any) -> None:
    pictures = [parts.plain(red, 5, 250 - red) for red in range(0, 250, 40)]
    rows = {row["evidence"]: row for row in evidence_bench._deletion(peephole, pictures)}
    assert set(rows) == {"class activation", "occlusion", "attention on placeholders"}
    assert {row["answers"] for row in rows.values()} == {len(pictures)}
    assert rows["occlusion"]["important hurts more"].startswith("1.000")  # at random the peephole is seldom covered


def test_the_bench_knows_where_a_stamp_is_and_in_which_quarter(parts: Any, tmp_path: Path) -> None:
    class Against(parts.Colours):  # type: ignore[misc, name-defined]
        classifier_weight = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)  # white is nothing

    stamps = []
    for at, colour in enumerate([(250, 5, 5), (5, 250, 5), (5, 5, 250), (250, 5, 5), (5, 250, 5), (5, 5, 250)]):
        pixels = np.zeros((40, 40, 4), np.uint8)
        pixels[:10, 10 * (at % 4) : 10 * (at % 4) + 10] = (*colour, 255)  # the rest is transparent
        Pillow.fromarray(pixels).save(tmp_path / f"{at}.png")
        stamps.append((tmp_path, Shown(f"{at}.png", (), (f"kind {colour}",), ())))
    alone, among = evidence_bench._pointing(Against(), stamps)
    assert alone["class activation"].startswith("1.000")
    assert alone["centre of the picture"].startswith("0.000")
    assert alone["anywhere"].startswith("0.062")
    assert among["class activation"].startswith("1.000")
