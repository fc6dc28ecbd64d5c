"""Is an answer right as often as it is said to be? And what does it cost not to give those that are in doubt?

The scales in :mod:`mmpipe.fusion.confidence` are fitted here, on simulated pictures alone, and judged by the
evaluation's lists. Needs the extra ``qa``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from mmpipe.evaluate import fusion as lists
from mmpipe.evaluate.fusion import Asked, Rate, Shown, calibration_error, ranking
from mmpipe.evaluate.fusion_models import fused
from mmpipe.evaluate.fusion_pictures import fetch_pictures
from mmpipe.fusion.confidence import Scale, is_verdict, likelihood, log_odds
from mmpipe.fusion.training.simulate import Simulator
from mmpipe.pipelines.multimodal_qa.fused import FusedModel
from mmpipe.pipelines.multimodal_qa.pipeline import MultimodalQA
from mmpipe.pipelines.multimodal_qa.question import Question
from mmpipe.types import ImageFeatures
from mmpipe.vision.images import load
from mmpipe.vision.labels import imagenet_labels, kinds

Row = dict[str, Any]

_SEED = 20
_THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
_NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True)
class _Marked:
    """An answer within reach (or beyond it), how likely the models hold it for, and whether it is right."""

    sort: str
    text: str
    likelihood: float
    right: bool

    @property
    def form(self) -> str:
        return "yes or no" if is_verdict(self.text) else "name"


def calibration(cache: Path, simulated: int = 400) -> Iterator[Row]:
    """Rows of figures. ``simulated``: pictures to fit on. ``cache``: keeps those of the evaluation."""
    model, members = FusedModel.load(), _members()
    scales = {}
    fitting = _simulated(model, simulated, members)
    for form in ("yes or no", "name"):
        chosen = [one for one in fitting if one.form == form]
        scales[form] = fit([one.likelihood for one in chosen], [one.right for one in chosen])
        yield {"fitted on": "simulated", "form": form, "answers": len(chosen)} | _rounded(scales[form])
    judged = {which: _listed(model, which, cache, members) for which in ("stamps", "photos")}
    for which, marked in judged.items():
        for form, scale in scales.items():
            yield {"list": which, "form": form} | _calibrated(
                [one for one in marked if one.form == form and one.sort != "beyond"], scale
            )
    for which, marked in judged.items():
        for threshold in _THRESHOLDS:
            yield {"list": which, "threshold": threshold} | _cost(marked, scales, threshold)
    with MultimodalQA(model, threshold=0) as qa:
        for which in ("stamps", "photos"):
            yield {"list": which} | _choices(qa, which, cache)


def fit(likelihoods: Sequence[float], right: Sequence[bool]) -> Scale:
    """Logistic regression of ``right`` on the log odds of ``likelihoods``, by Newton's method."""
    x = np.column_stack([[log_odds(value) for value in likelihoods], np.ones(len(right))])
    y, weights = np.asarray(right, float), np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = x.T @ (x * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        weights += np.linalg.solve(curvature, x.T @ (y - p))
    return Scale(*map(float, weights))


# -- answers ----------------------------------------------------------------------------------------------------


def _members() -> Mapping[str, Sequence[str]]:
    labels = [label.name for label in imagenet_labels()]
    return {kind: [labels[index] for index in indices] for kind, indices in kinds().items()}


def _simulated(model: FusedModel, count: int, members: Mapping[str, Sequence[str]]) -> list[_Marked]:
    """Answers about pictures made up from the classifier, in the plain wordings, which are those of the training."""
    encoder: Any = model.encoder
    weight, bias = (torch.from_numpy(part) for part in (encoder.classifier_weight, encoder.classifier_bias))
    simulator, subjects = Simulator(weight, bias), imagenet_labels()
    drawn = simulator.draw(count, torch.Generator().manual_seed(_SEED))
    grid = model.strategy.shapes.spatial[1:]
    shown, features = [], {}
    for number, truth in enumerate(drawn.truth.tolist()):
        near = tuple(subjects[other].name for other in simulator.near[truth].tolist())
        subject, path = subjects[truth], f"simulated {number}"
        if not subject.kinds:
            continue  # nothing to ask for
        shown.append(Shown(path, (subject.name, *subject.other_names), tuple(subject.kinds), near))
        pooled = drawn.pooled[number].numpy()
        spatial = np.broadcast_to(pooled[:, None, None], (len(pooled), *grid))
        features[path] = ImageFeatures(pooled, np.ascontiguousarray(spatial), drawn.logits[number].numpy())
    asked = [one for one in lists.questions(shown, members) if one.sort != "beyond" and not one.paraphrase]
    return _marked(model, features, asked)


def _listed(model: FusedModel, which: str, cache: Path, members: Mapping[str, Sequence[str]]) -> list[_Marked]:
    root, shown = fetch_pictures(which, cache), lists.pictures(which)
    features = {one.path: model.encoder.run([load(root / one.path)])[0] for one in shown}
    return _marked(model, features, lists.questions(shown, members))


def _marked(model: FusedModel, features: Mapping[str, ImageFeatures], asked: Sequence[Asked]) -> list[_Marked]:
    """Those that are not a refusal of the model itself, which is no answer that could be right or wrong."""
    return [
        _Marked(
            one.sort,
            answer.text,
            likelihood(answer.text, answer.logprobs, [features[one.picture]]),
            lists.right(one, answer.text),
        )
        for one, answer in zip(asked, fused(model.language_model, model.strategy, features, asked), strict=True)
        if one.sort == "beyond" or not lists.refused(answer.text)
    ]


# -- figures ----------------------------------------------------------------------------------------------------


def _rounded(scale: Scale) -> Row:
    return {"slope": round(scale.slope, 2), "intercept": round(scale.intercept, 2)}


def _calibrated(marked: Sequence[_Marked], scale: Scale) -> Row:
    right, before = [one.right for one in marked], [one.likelihood for one in marked]
    return {
        "answers": len(marked),
        "right": str(Rate(sum(right), len(right))),
        "calibration error": round(calibration_error(right, before), 3),
        "calibrated": round(calibration_error(right, [scale(value) for value in before]), 3),
        "ranking": round(ranking(right, before), 3),
    }


def _cost(marked: Sequence[_Marked], scales: Mapping[str, Scale], threshold: float) -> Row:
    """What is lost and won where answers below ``threshold`` are not given."""
    sure = [scales[one.form](one.likelihood) >= threshold and not lists.refused(one.text) for one in marked]
    reach = [(one, given) for one, given in zip(marked, sure, strict=True) if one.sort != "beyond"]
    beyond = [given for one, given in zip(marked, sure, strict=True) if one.sort == "beyond"]
    kept = [one.right for one, given in reach if given]
    return {
        "right answers lost": f"{sum(one.right and not given for one, given in reach)} of {len(reach)}",
        "wrong answers spared": sum(not (one.right or given) for one, given in reach),
        "right where answered": str(Rate(sum(kept), len(kept))),
        "refused beyond reach": f"{len(beyond) - sum(beyond)} of {len(beyond)}",
    }


def _choices(qa: MultimodalQA, which: str, cache: Path) -> Row:
    """One of four names, three of other pictures of the list: by likelihood."""
    root, shown = fetch_pictures(which, cache), lists.pictures(which)
    questions, truths = [], []
    for one in shown:
        random = Random(one.path)  # noqa: S311
        name = one.names[0].lstrip("@")
        others = sorted({other.names[0].lstrip("@") for other in shown if not {*other.names} & {*one.names}})
        four = [name, *random.sample(others, 3)]
        random.shuffle(four)
        truths.append(name)
        questions.append(Question.about(root / one.path, lists.PLAIN["name"], choices=four))
    answers = qa.ask_many(questions)
    given = [(answer.text == name, answer) for name, answer in zip(truths, answers, strict=True) if not answer.refused]
    right = [ok for ok, _ in given]
    return {
        "choices": len(answers),
        "refused": len(answers) - len(given),
        "right": str(Rate(sum(right), len(right))),
        "calibration error": round(calibration_error(right, [answer.confidence for _, answer in given]), 3),
        "ranking": round(ranking(right, [answer.confidence for _, answer in given]), 3),
    }
