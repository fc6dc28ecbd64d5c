"""How likely is an answer about a picture to be right? From the answer's own likelihood, and the encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np

from mmpipe.types import ImageFeatures

#: Lite classifiers are trained with smoothed labels, and so are less sure than they should be; this makes up for it.
_SHARPEN = 1.3
_VERDICTS = ("yes", "no")
_SMALLEST = 1e-4  # and from 1 as far: nothing is certain


@dataclass(frozen=True, slots=True)
class Scale:
    """From a likelihood to the probability of being right: a line over log odds (Platt 1999)."""

    slope: float
    intercept: float

    def __call__(self, likelihood: float) -> float:
        return 1 / (1 + exp(-self.slope * log_odds(likelihood) - self.intercept))


#: Fitted on simulated pictures, for the adapter that mmpipe carries: ``mmpipe bench calibration`` prints them.
VERDICT, NAME = Scale(1.15, 0.07), Scale(0.65, 1.24)


def confidence(answer: str, logprobs: Sequence[float], pictures: Sequence[ImageFeatures] = ()) -> float:
    """The probability, 0..1, that ``answer`` is right. See :func:`likelihood`."""
    scale = VERDICT if is_verdict(answer) else NAME
    return scale(likelihood(answer, logprobs, pictures))


def likelihood(answer: str, logprobs: Sequence[float], pictures: Sequence[ImageFeatures] = ()) -> float:
    """What the models themselves make of ``answer``, 0..1.

    ``logprobs``: natural, of the tokens of the answer, as generated without temperature. The language model learned
    to say yes and no as often as it is true, so there its likelihood is all. A name it takes over from the encoder,
    whatever that is worth: there the probability of the likeliest class counts too, of the picture of ``pictures``
    that is the least clear.
    """
    own = exp(sum(logprobs))
    if is_verdict(answer) or not pictures:
        return own
    return own * min(class_probability(picture) for picture in pictures)


def shares(logprobs: Sequence[float]) -> list[float]:
    """The probability of each choice, if one of them is right: they sum to 1. ``logprobs``: natural, as answers."""
    weights = [exp(logprob - max(logprobs)) for logprob in logprobs]
    return [weight / sum(weights) for weight in weights]


def is_verdict(answer: str) -> bool:
    """Whether ``answer`` begins with yes or no."""
    return bool(answer.strip()) and answer.split(maxsplit=1)[0].strip(".,!").lower() in _VERDICTS


def class_probability(features: ImageFeatures) -> float:
    """Of the likeliest class; 1 where the encoder does not classify."""
    if not len(features.logits):
        return 1.0
    logits = _SHARPEN * (features.logits - features.logits.max())
    return float(1.0 / np.exp(logits).sum())


def log_odds(probability: float) -> float:
    """Natural; of probabilities that are next to certain, those of one that is a little less."""
    within = min(max(probability, _SMALLEST), 1 - _SMALLEST)
    return log(within / (1 - within))
