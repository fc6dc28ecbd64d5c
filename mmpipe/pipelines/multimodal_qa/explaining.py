"""What in the pictures an answer rests on: three looks at it that do not depend on one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.generation.chat import RenderedChat
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.requests import Generation, ScoreRequest
from mmpipe.pipelines.multimodal_qa.evidence import Evidence, PictureEvidence
from mmpipe.pipelines.multimodal_qa.fused import FusedModel
from mmpipe.pipelines.multimodal_qa.image_encoding import BatchedImageEncoder
from mmpipe.stage import ImageEncoder
from mmpipe.types import Answer, Image, ImageFeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The picture is covered in so many parts a side, one after the other.
GRID = 5
_GREY = 127  # what encoders take for nothing


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """How an answer came to be. ``pictures`` and ``features``: one for each of the prompt's media."""

    question: str  # in English
    chat: RenderedChat
    pictures: Sequence[Image]
    features: Sequence[ImageFeatures]
    generation: Generation  # with attention


def explain(
    model: FusedModel, image_encoder: BatchedImageEncoder, engine: GenerationEngine, answer: Answer, scene: Scene
) -> Evidence:
    """What ``answer``, generated from ``scene``, rests on."""
    generation, tokenizer = scene.generation, model.language_model.tokenizer
    ids = [token for token in generation.token_ids if token != model.language_model.turn_end_id]
    found = []
    for at, (picture, features) in enumerate(zip(scene.pictures, scene.features, strict=True)):
        label, probability, activation = class_activation(model.encoder, features, f"{answer.said}\n{scene.question}")
        found.append(
            PictureEvidence(
                picture=picture,
                label=label,
                label_probability=probability,
                activation=activation,
                occlusion=occlusion(model, image_encoder, engine, scene, at),
                attention=attention(scene, at)[: len(ids)],
            )
        )
    tokens = tuple(tokenizer.decode([token]) for token in ids)
    return Evidence(answer, tokens, sum(generation.logprobs), tuple(found))


def class_activation(
    encoder: ImageEncoder, features: ImageFeatures, text: str
) -> tuple[str, float, NDArray[np.float32] | None]:
    """The class that ``text`` speaks of, or the likeliest if it names none, its probability, and where it is seen.

    Of several classes that are named, as where there are several pictures, the likeliest in this one counts. See
    :class:`PictureEvidence`.
    """
    if not len(features.logits):
        return "", 0.0, None
    index = _named(encoder.labels, features, text)
    odds = np.exp(features.logits - features.logits.max())
    label, probability = encoder.labels[index], float(odds[index] / odds.sum())
    weight = getattr(encoder, "classifier_weight", None)
    if weight is None:
        return label, probability, None
    deepest = features.spatial[: weight.shape[1]]  # before those of earlier layers, where there are any
    return label, probability, np.einsum("c,chw->hw", weight[index], deepest)


def occlusion(
    model: FusedModel, image_encoder: BatchedImageEncoder, engine: GenerationEngine, scene: Scene, at: int
) -> NDArray[np.float32]:
    """How much less likely the same answer is with parts of picture ``at`` covered, nats, (GRID, GRID)."""
    each = np.eye(GRID * GRID, dtype=bool).reshape(-1, GRID, GRID)
    logprobs = likelihoods(
        model, image_encoder, engine, scene, at, (cover(scene.pictures[at], cells) for cells in each)
    )
    return (sum(scene.generation.logprobs) - np.array(logprobs, np.float32)).reshape(GRID, GRID)


def likelihoods(
    model: FusedModel,
    image_encoder: BatchedImageEncoder,
    engine: GenerationEngine,
    scene: Scene,
    at: int,
    pictures: Iterable[Image],
) -> list[float]:
    """The logarithm of the probability of the same answer with each of ``pictures`` in place of picture ``at``."""
    scores = []
    for features in image_encoder.look(pictures):
        instead = [*scene.features[:at], features, *scene.features[at + 1 :]]
        request = ScoreRequest(model.prompt(scene.chat, instead), [scene.generation.token_ids])
        scores.append(engine.score(request, block=True))
    return [score.result()[0].logprob for score in scores]


def cover(picture: Image, cells: NDArray[np.bool_]) -> Image:
    """``picture`` with those of ``cells`` (rows, columns), which part it evenly, in grey."""
    rows = np.linspace(0, picture.height_px, cells.shape[0] + 1).round().astype(int)
    columns = np.linspace(0, picture.width_px, cells.shape[1] + 1).round().astype(int)
    hidden = np.repeat(np.repeat(cells, np.diff(rows), axis=0), np.diff(columns), axis=1)
    return Image(np.where(hidden[..., None], np.uint8(_GREY), picture.pixels))


def attention(scene: Scene, at: int) -> NDArray[np.float32]:
    """The share of its attention that each token of the answer gave to each placeholder of picture ``at``."""
    traced, medium = scene.generation.attention, scene.chat.media[at]
    assert traced is not None
    mean: NDArray[np.float32] = traced.mean(dim=1)[:, medium.start : medium.stop].numpy()
    return mean


def _named(labels: Sequence[str], features: ImageFeatures, text: str) -> int:
    """Of the classes that the first line of ``text`` with any names, the likeliest in the picture; else of all."""
    longest_first = sorted(labels, key=len, reverse=True)
    names = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})s?\b", re.IGNORECASE)
    for line in text.splitlines():
        said = {match[1].lower() for match in names.finditer(line)}
        if said:
            return max((i for i, label in enumerate(labels) if label.lower() in said), key=features.logits.__getitem__)
    return int(features.logits.argmax())
