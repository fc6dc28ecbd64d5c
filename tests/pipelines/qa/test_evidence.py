"""What an answer rests on, where it is known what it must rest on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe import Image, MultimodalQA
from mmpipe.errors import InputError, OutputError
from mmpipe.pipelines.multimodal_qa.explaining import GRID, class_activation, covered
from mmpipe.vision import images

Make = Callable[..., MultimodalQA]


@pytest.fixture
def peephole(make: Make, parts: Any) -> MultimodalQA:
    """Sees nothing but the top left of a picture."""

    class Peephole(parts.Colours):  # type: ignore[misc, name-defined]
        def _features(self, image: Image) -> Any:
            return super()._features(Image(image.pixels[: image.height_px // 5, : image.width_px // 5]))

    return make(model=parts.fused(encoder=Peephole()))


def test_covering_what_is_not_seen_changes_nothing_and_covering_what_is_does(
    peephole: MultimodalQA, parts: Any
) -> None:
    evidence = peephole.explain(parts.RED, "What is this?", max_new_tokens=8)
    (found,) = evidence.pictures
    assert found.occlusion.shape == (GRID, GRID)
    elsewhere = found.occlusion.copy()
    elsewhere[0, 0] = 0
    assert np.abs(elsewhere).max() < 1e-3
    assert found.occlusion[0, 0] > 0.1


def test_evidence_belongs_to_the_answer_and_to_each_picture(qa: MultimodalQA, parts: Any) -> None:
    answer = qa.ask([parts.RED, parts.BLUE], "What is this?", max_new_tokens=8)
    evidence = qa.explain([parts.RED, parts.BLUE], "What is this?", max_new_tokens=8)
    assert evidence.answer.text == answer.text
    assert evidence.answer.confidence == pytest.approx(answer.confidence, rel=1e-3)
    assert [found.label for found in evidence.pictures] == ["red thing", "blue thing"]
    attention = [found.attention for found in evidence.pictures]
    assert [part.shape for part in attention] == [(len(evidence.tokens), qa.model.strategy.n_tokens)] * 2
    shares = sum(part.sum(axis=1) for part in attention)
    assert (shares > 0).all()
    assert (shares < 1).all()


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


def test_every_part_of_a_picture_is_covered_once() -> None:
    picture = Image(np.full((33, 47, 3), 250, np.uint8))
    hidden = [(one.pixels[..., 0] == 127).astype(int) for one in covered(picture)]
    assert len(hidden) == GRID * GRID
    assert (sum(hidden) == 1).all()
    tiny = list(covered(Image(np.zeros((1, 1, 3), np.uint8))))
    assert len(tiny) == GRID * GRID


def test_evidence_is_kept_as_a_picture_and_as_numbers(qa: MultimodalQA, parts: Any, tmp_path: Path) -> None:
    wide = Image(np.zeros((10, 200, 3), np.uint8))
    evidence = qa.explain([parts.RED, wide], "What is this?", max_new_tokens=4)
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
        qa.explain(parts.RED, "Is it?", choices=["yes", "no"])
