"""How likely is an answer about a picture to be right? From the answer's own likelihood, and the encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import numpy as np

from mmpipe.types import ImageFeatures

#: Lite classifiers are trained with smoothed labels, and so are less sure than they should be; this makes up for it.
_SHARPEN = 1.3
_VERDICTS = ("yes", "no")


def confidence(answer: str, logprobs: Sequence[float], pictures: Sequence[ImageFeatures] = ()) -> float:
    """The probability, 0..1, that ``answer`` is right.

    ``logprobs``: natural, of the tokens of the answer, as generated without temperature. The language model learned
    to say yes and no as often as it is true, so there its likelihood is the probability. A name it takes over from
    the encoder, whatever that is worth: there the probability of the likeliest class counts too, of the picture of
    ``pictures`` that is the least clear.
    """
    likelihood = exp(sum(logprobs))
    first = answer.split(maxsplit=1)[0].strip(".,!").lower() if answer.strip() else ""
    if first in _VERDICTS or not pictures:
        return likelihood
    return likelihood * min(class_probability(picture) for picture in pictures)


def class_probability(features: ImageFeatures) -> float:
    """Of the likeliest class; 1 where the encoder does not classify."""
    if not len(features.logits):
        return 1.0
    logits = _SHARPEN * (features.logits - features.logits.max())
    return float(1.0 / np.exp(logits).sum())
