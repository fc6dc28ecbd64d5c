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
from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER
from mmpipe.fusion.confidence import Scale, is_verdict, likelihood, log_odds, shares
from mmpipe.fusion.training.simulate import Simulator
from mmpipe.generation.chat import Message
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.likelihood import Choices
from mmpipe.pipelines.multimodal_qa.answering import spellings
from mmpipe.pipelines.multimodal_qa.fused import FusedModel
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


def calibration(cache: Path, simulated: int = 400, adapter: Path = DEFAULT_ADAPTER) -> Iterator[Row]:
    """Rows of figures. ``simulated``: pictures to fit on. ``cache``: keeps those of the evaluation."""
    model, members = FusedModel.load(adapter), _members()
    seen = _simulated(model, simulated)
    fitting = _marked(model, seen, [one for one in lists.questions(seen.shown, members) if _is_plain(one)])
    scales = {}
    for form in ("yes or no", "name"):
        chosen = [one for one in fitting if one.form == form]
        scales[form] = fit([one.likelihood for one in chosen], [one.right for one in chosen])
        yield {
            "fitted on": "simulated",
            "form": form,
            "answers": len(chosen),
            "slope": round(scales[form].slope, 2),
            "intercept": round(scales[form].intercept, 2),
        }
    listed = {which: _listed(model, which, cache) for which in ("stamps", "photos")}
    judged = {which: _marked(model, seen, lists.questions(seen.shown, members)) for which, seen in listed.items()}
    for which, marked in judged.items():
        for form, scale in scales.items():
            within = [one for one in marked if one.form == form and one.sort != "beyond"]
            right, before = [one.right for one in within], [one.likelihood for one in within]
            after = _judged(right, [scale(value) for value in before])
            yield {"list": which, "form": form} | after | {"uncalibrated": round(calibration_error(right, before), 3)}
    for which, seen in listed.items():
        four = _choices(model, seen)
        right, sure = [max(one) == one[0] for one in four], [max(shares(one)) for one in four]
        yield {"list": which, "form": "choice of four"} | _judged(right, sure)
    for which, marked in judged.items():
        for threshold in _THRESHOLDS:
            yield {"list": which, "threshold": threshold} | _cost(marked, scales, threshold)


def fit(likelihoods: Sequence[float], right: Sequence[bool]) -> Scale:
    """Logistic regression of ``right`` on the log odds of ``likelihoods``, by Newton's method.

    A scale that changes nothing weighs as much as a few answers: with all of them right there is still a fit.
    """
    x = np.column_stack([[log_odds(value) for value in likelihoods], np.ones(len(right))])
    y, plain = np.asarray(right, float), np.array([1.0, 0.0])
    weights = np.zeros(2)  # from there Newton does not overshoot
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = x.T @ (x * (p * (1 - p))[:, None]) + np.eye(2)
        weights += np.linalg.solve(curvature, x.T @ (y - p) - (weights - plain))
    return Scale(*map(float, weights))


# -- answers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """Pictures, and what the encoder sees in them, by their paths."""

    shown: Sequence[Shown]
    features: Mapping[str, ImageFeatures]


def _members() -> Mapping[str, Sequence[str]]:
    labels = [label.name for label in imagenet_labels()]
    return {kind: [labels[index] for index in indices] for kind, indices in kinds().items()}


def _is_plain(asked: Asked) -> bool:
    """Within reach, in a wording of the training."""
    return asked.sort != "beyond" and not asked.paraphrase


def _simulated(model: FusedModel, count: int) -> _Seen:
    """Pictures made up from the classifier."""
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
    return _Seen(shown, features)


def _listed(model: FusedModel, which: str, cache: Path) -> _Seen:
    root, shown = fetch_pictures(which, cache), lists.pictures(which)
    return _Seen(shown, {one.path: model.encoder.run([load(root / one.path)])[0] for one in shown})


def _marked(model: FusedModel, seen: _Seen, asked: Sequence[Asked]) -> list[_Marked]:
    """Those within reach that are not a refusal of the model itself, which is neither right nor wrong."""
    answers = fused(model.language_model, model.strategy, seen.features, asked)
    return [
        _Marked(
            one.sort,
            answer.text,
            likelihood(answer.text, answer.logprobs, [seen.features[one.picture]]),
            lists.right(one, answer.text),
        )
        for one, answer in zip(asked, answers, strict=True)
        if one.sort == "beyond" or not lists.refused(answer.text)
    ]


def _choices(model: FusedModel, seen: _Seen) -> list[list[float]]:
    """For each picture the log likelihoods of four names; the first is its own, the others are of other pictures."""
    lm, waiting = model.language_model, []
    chat = model.render([Message("user", (None, lists.PLAIN["name"]))])
    with GenerationEngine(lm, attending=model.attending) as engine:
        for one in seen.shown:
            others = sorted({other.names[0] for other in seen.shown if not {*other.names} & {*one.names}})
            four = [one.names[0], *Random(one.path).sample(others, 3)]  # noqa: S311
            choices = Choices(lm, [spellings(name) for name in four])
            prompt = model.prompt(chat, [seen.features[one.path]])
            waiting.append((choices, engine.score(choices.request(prompt), block=True)))
        return [[choice.logprob for choice in choices.interpret(scored.result())] for choices, scored in waiting]


# -- figures ----------------------------------------------------------------------------------------------------


def _judged(right: Sequence[bool], sure: Sequence[float]) -> Row:
    return {
        "answers": len(right),
        "right": str(Rate(sum(right), len(right))),
        "calibration error": round(calibration_error(right, sure), 3),
        "ranking": round(ranking(right, sure), 3),
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
