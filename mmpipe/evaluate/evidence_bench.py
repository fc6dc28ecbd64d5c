"""Does the evidence for an answer show what the answer rests on? Three checks on the evaluation's pictures.

Deletion (Samek et al. 2017, arXiv:1509.06321): where the fifth that a map holds for the most important is covered, the
answer should get less likely than where a fifth at random is. The pointing game (Zhang et al. 2016, arXiv:1608.00507):
the highest place of the class activation should lie on the thing; stamps are cut out, so it is known where that is. And
among four stamps of different classes (Böhle et al. 2021, arXiv:2104.00032), in the quarter of the one that is looked
for. Needs the extra ``qa``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, sqrt
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmpipe.evaluate.fusion import PLAIN, Rate, Shown, pictures
from mmpipe.evaluate.fusion_pictures import fetch_pictures
from mmpipe.extras import require
from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER
from mmpipe.generation.chat import Message
from mmpipe.generation.requests import GenerationRequest, Prompt, ScoreRequest
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.multimodal_qa.answering import REFUSAL
from mmpipe.pipelines.multimodal_qa.explaining import (
    Scene,
    attention,
    class_activation,
    cover,
    likelihoods,
    occlusion,
)
from mmpipe.pipelines.multimodal_qa.image_encoding import load
from mmpipe.pipelines.multimodal_qa.pipeline import MultimodalQA
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures

Row = dict[str, Any]

#: The part of a map that is deleted.
_PART = 0.2
#: Places at random that the important ones are compared with.
_DRAWS = 3
_OPAQUE = 128
_QUARTER_PX = 260


@dataclass(frozen=True, slots=True)
class _Deleted:
    """The probability of one answer: with the whole picture, without what is important, without as much at random."""

    whole: float
    important: float
    random: float


def evidence(cache: Path, count: int = 60, adapter: Path = DEFAULT_ADAPTER) -> Iterator[Row]:
    """Rows of figures with 95 % intervals. ``count``: pictures for the deletion, evenly from both lists; the pointing
    game is played on all stamps. ``cache``: keeps the pictures."""
    stamps, photos = (
        [(fetch_pictures(which, cache), one) for one in pictures(which)] for which in ("stamps", "photos")
    )
    both = [*stamps, *photos]
    chosen = [both[index * len(both) // count] for index in range(min(count, len(both)))]
    with Engines(fused_model=adapter) as engines, MultimodalQA(engines) as qa:
        yield from _deletion(qa, [load(root / one.path) for root, one in chosen])
        yield from _pointing(qa.model.encoder, stamps)


# -- deletion ---------------------------------------------------------------------------------------------------


def _deletion(qa: MultimodalQA, shown: Sequence[Image]) -> Iterator[Row]:
    found: dict[str, list[_Deleted]] = {}
    for number, picture in enumerate(shown):
        scene = _answered(qa, picture)
        if scene.generation.text.strip() == REFUSAL:
            continue
        draw = np.random.default_rng(number)
        for name, value in _maps(qa, scene).items():
            found.setdefault(name, []).append(_deleted(qa, scene, value, draw))
        found.setdefault("attention on placeholders", []).append(_unread(qa, scene, draw))
    for name, each in found.items():
        hurt = Rate(sum(one.important < one.random for one in each), len(each))
        yield {
            "evidence": name,
            "answers": len(each),
            "probability": _mean([one.whole for one in each]),
            "without the important fifth": _mean([one.important for one in each]),
            "without a fifth at random": _mean([one.random for one in each]),
            "important hurts more": str(hurt),
        }


def _answered(qa: MultimodalQA, picture: Image) -> Scene:
    question = PLAIN["name"]
    chat = qa.model.render([Message("user", (picture, question))])
    features = qa.image_encoder.look([picture])
    request = GenerationRequest(qa.model.prompt(chat, features), 24, trace_attention=True)
    (generation,) = qa.engine.generate([request])
    return Scene(question, chat, [picture], features, generation)


def _maps(qa: MultimodalQA, scene: Scene) -> dict[str, NDArray[np.float32]]:
    _, _, activation = class_activation(qa.model.encoder, scene.features[0], scene.generation.text)
    assert activation is not None
    return {"class activation": activation, "occlusion": occlusion(qa.model, qa.image_encoder, qa.engine, scene, 0)}


def _deleted(qa: MultimodalQA, scene: Scene, value: NDArray[np.float32], draw: np.random.Generator) -> _Deleted:
    picture = scene.pictures[0]
    hidden = [_highest(value), *(_highest(draw.random(value.shape)) for _ in range(_DRAWS))]
    logprobs = likelihoods(qa.model, qa.image_encoder, qa.engine, scene, 0, [cover(picture, cells) for cells in hidden])
    return _compared(scene, logprobs)


def _unread(qa: MultimodalQA, scene: Scene, draw: np.random.Generator) -> _Deleted:
    """Deleted from the prompt: an embedding of the picture becomes that of the placeholder it stands on."""
    lm, medium = qa.model.language_model, scene.chat.media[0]
    prompt = qa.model.prompt(scene.chat, scene.features)
    nothing = lm.embed([lm.placeholder_id])[0]
    looked_at = attention(scene, 0).mean(axis=0)
    scores = []
    for value in (looked_at, *(draw.random(looked_at.shape) for _ in range(_DRAWS))):
        assert prompt.embeddings is not None
        embeddings = prompt.embeddings.clone()
        embeddings[medium.start + np.flatnonzero(_highest(value))] = nothing
        changed = Prompt(embeddings=embeddings, memory=prompt.memory)
        scores.append(qa.engine.score(ScoreRequest(changed, [scene.generation.token_ids]), block=True))
    return _compared(scene, [score.result()[0].logprob for score in scores])


def _compared(scene: Scene, logprobs: Sequence[float]) -> _Deleted:
    important, *random = map(exp, logprobs)
    return _Deleted(exp(sum(scene.generation.logprobs)), important, sum(random) / len(random))


def _highest(value: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the places in ``value`` belong to the highest fifth."""
    order = np.argsort(value, axis=None)[::-1]
    chosen = np.zeros(value.size, bool)
    chosen[order[: max(1, round(_PART * value.size))]] = True
    return chosen.reshape(value.shape)


# -- pointing ---------------------------------------------------------------------------------------------------


def _pointing(encoder: ImageEncoder, stamps: Sequence[tuple[Path, Shown]]) -> Iterator[Row]:
    loaded = [load(root / one.path) for root, one in stamps]
    masks = [_mask(root / one.path) for root, one in stamps]
    seen = _encoded(encoder, loaded)
    labels = [encoder.labels[int(features.logits.argmax())] for features in seen]
    on = sum(map(_lies_on, masks, (_place(encoder, *each) for each in zip(seen, labels, strict=True))))
    centre = sum(_lies_on(mask, (0.5, 0.5)) for mask in masks)
    yield {
        "pointing": "on the thing, alone",
        "stamps": len(stamps),
        "class activation": str(Rate(on, len(stamps))),
        "centre of the picture": str(Rate(centre, len(stamps))),
        "anywhere": _mean([float(mask.mean()) for mask in masks]),
    }
    random, quarters, together = Random(0), [], []  # noqa: S311
    for picture, (_, shown) in zip(loaded, stamps, strict=True):
        others = [other for other, (_, one) in zip(loaded, stamps, strict=True) if not {*shown.kinds} & {*one.kinds}]
        four = random.sample(others, 3)
        quarters.append(random.randrange(4))
        four.insert(quarters[-1], picture)
        together.append(_together(four))
    places = [_place(encoder, *each) for each in zip(_encoded(encoder, together), labels, strict=True)]
    hits = sum(
        2 * (down >= 0.5) + (right >= 0.5) == quarter for (down, right), quarter in zip(places, quarters, strict=True)
    )
    yield {
        "pointing": "on its quarter, among four",
        "stamps": len(stamps),
        "class activation": str(Rate(hits, len(stamps))),
        "anywhere": "0.250",
    }


def _encoded(encoder: ImageEncoder, shown: Sequence[Image]) -> list[ImageFeatures]:
    batches = (shown[start : start + encoder.max_items] for start in range(0, len(shown), encoder.max_items))
    return [features for batch in batches for features in encoder.run(batch)]


def _place(encoder: ImageEncoder, features: ImageFeatures, label: str) -> tuple[float, float]:
    """The middle of the cell that speaks most for ``label``, as shares of the height and the width."""
    _, _, activation = class_activation(encoder, features, label)
    assert activation is not None  # what mmpipe carries classifies
    row, column = np.unravel_index(int(activation.argmax()), activation.shape)
    return (int(row) + 0.5) / activation.shape[0], (int(column) + 0.5) / activation.shape[1]


def _mask(path: Path) -> NDArray[np.bool_]:
    """Where a stamp is not transparent."""
    picture = require("PIL.Image", "qa", "Measuring evidence").open(path)
    return np.asarray(picture.convert("RGBA"))[..., 3] >= _OPAQUE


def _lies_on(mask: NDArray[np.bool_], place: tuple[float, float]) -> bool:
    return bool(mask[int(place[0] * mask.shape[0]), int(place[1] * mask.shape[1])])


def _together(four: Sequence[Image]) -> Image:
    """Four pictures in two rows of two, each squashed into a square, as encoders see them."""
    pillow = require("PIL.Image", "qa", "Measuring evidence")
    squares = [np.asarray(pillow.fromarray(one.pixels).resize((_QUARTER_PX, _QUARTER_PX))) for one in four]
    return Image(np.concatenate([np.concatenate(squares[:2], axis=1), np.concatenate(squares[2:], axis=1)]))


def _mean(values: Sequence[float]) -> str:
    """The mean with its 95 % interval."""
    mean = sum(values) / len(values)
    spread = 1.96 * sqrt(sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1) / len(values))
    return f"{mean:.3f} ({mean - spread:.2f}-{mean + spread:.2f})"
