"""How good are adapters? Each on the fixed lists of pictures, beside the cascade and the encoder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpipe.evaluate import fusion as lists
from mmpipe.evaluate import fusion_models as models
from mmpipe.evaluate import pairs
from mmpipe.evaluate.fusion_pictures import fetch_pictures
from mmpipe.fusion import checkpoint
from mmpipe.generation.language_model import DType, LanguageModel
from mmpipe.stage import ImageEncoder
from mmpipe.vision.images import load
from mmpipe.vision.labels import imagenet_labels, kinds


def score_adapters(
    folders: Sequence[Path],
    encoder: ImageEncoder,
    cache: Path,
    which: Sequence[str] = lists.SEEN,
    dtype: DType = "float32",
) -> dict[str, Any]:
    """List -> system -> rates of right answers with 95 % confidence intervals; JSON values.

    The systems are the adapters, by the name of their strategy, the cascade and the encoder alone; under the name of
    the list with "in pairs" behind it is what they answer when two pictures are shown. ``cache``: a folder that keeps
    the pictures. ``which``: the lists. ``dtype``: of the language model.

    Raises:
        InputError: the pictures of a list cannot be had; that comes first, before anything is computed.
    """
    roots = {name: fetch_pictures(name, cache) for name in which}
    labels = [label.name for label in imagenet_labels()]
    members = {kind: [labels[index] for index in indices] for kind, indices in kinds().items()}
    plain, adapted = LanguageModel.load(dtype=dtype), {}
    for number, folder in enumerate(folders, start=1):
        model = LanguageModel.load(dtype=dtype)
        strategy = checkpoint.load(folder, model, encoder.identity)
        adapted[strategy.name if strategy.name not in adapted else f"{strategy.name} {number}"] = model, strategy
    scores: dict[str, Any] = {}
    for each, root in roots.items():
        shown = lists.pictures(each)
        features = {one.path: encoder.run([load(root / one.path)])[0] for one in shown}
        asked, of_pairs = lists.questions(shown, members), pairs.questions(shown, members, each)
        theirs = [answer.text for answer in models.cascade(plain, labels, features, asked)]
        alone = [labels[int(features[one.picture].logits.argmax())] for one in asked]
        single = scores[each] = {
            "encoder": {"name": _told(lists.rates(asked, alone)["name"])},
            "cascade": _all_told(lists.rates(asked, theirs)),
        }
        told_in_words = [answer.text for answer in models.cascade(plain, labels, features, of_pairs)]
        paired = scores[f"{each} in pairs"] = {"cascade": _all_told(pairs.rates(of_pairs, told_in_words))}
        for name, (model, strategy) in adapted.items():
            single[name] = _judged(asked, models.fused(model, strategy, features, asked), theirs)
            ours = [answer.text for answer in models.fused(model, strategy, features, of_pairs)]
            paired[name] = _all_told(pairs.rates(of_pairs, ours))
    return scores


def _judged(asked: Sequence[lists.Asked], answered: Sequence[models.Answered], theirs: Sequence[str]) -> dict[str, Any]:
    ours = [answer.text for answer in answered]
    within = [(one, answer) for one, answer in zip(asked, answered, strict=True) if one.sort != "beyond"]
    right, sure = [lists.right(one, a.text) for one, a in within], [a.confidence for _, a in within]
    return _all_told(lists.rates(asked, ours)) | {
        "calibration_error": round(lists.calibration_error(right, sure), 4),
        "ranking": round(lists.ranking(right, sure), 4),
        "advantage": {
            sort: [round(value, 4) for value in lists.advantage(asked, ours, theirs, sort)]
            for sort in lists.SORTS
            if sort != "beyond"
        },
    }


def _all_told(rates: Mapping[Any, lists.Rate]) -> dict[str, Any]:
    return {sort: _told(rate) for sort, rate in rates.items()}


def _told(rate: lists.Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"rate": round(rate.value, 4), "low": round(low, 4), "high": round(high, 4), "of": rate.total}
