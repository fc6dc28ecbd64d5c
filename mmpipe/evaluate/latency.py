"""How late a live transcript or translation is, and how much it flickers: the field's definitions.

All times are seconds. A *delay* is the time at which a word of the output was there, counted from the start of the
sound. Each measure exists in two forms that differ in nothing but the clock of its delays: *computation-unaware*, how
much sound had been heard by then, which is what the policy is to blame for; *computation-aware*, the wall clock, which
adds the time that the computer took.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from mmpipe.extras import require
from mmpipe.types import UNSPACED


def tokens(text: str, language: str) -> list[str]:
    """What latency is counted in: words, or characters in languages written without spaces (as SimulEval does)."""
    return [c for c in text if not c.isspace()] if language in UNSPACED else text.split()


# --- how far the output lags ------------------------------------------------------------------------------------------


def average_lagging(delays_s: Sequence[float], source_s: float, reference_length: int) -> float:
    """AL: how far the output lags behind one that keeps pace with the speaker and ends with the reference's last word.

    Ma et al. (2019), "STACL: Simultaneous Translation with Implicit Anticipation and Controllable Latency using
    Prefix-to-Prefix Framework"; for speech Ma, Pino and Koehn (2020), "SimulMT to SimulST". With delays d, source
    length X and reference length R::

        AL = 1/tau * sum(d[i] - (i - 1) * X / R for i in 1..tau),    tau: the first i with d[i] >= X, or the last

    So, where the first word comes only after the source has ended, AL is its delay. An output longer than its
    reference makes AL too small; see :func:`length_adaptive_average_lagging`.

    ``delays_s``: one for each word of the output, at least one. ``source_s``: length of the source, above 0.
    """
    return _lagging(delays_s, source_s, reference_length)


def length_adaptive_average_lagging(delays_s: Sequence[float], source_s: float, reference_length: int) -> float:
    """LAAL: as AL, but the ideal output is as long as the longer one of reference and output.

    Papi et al. (2022), "Over-Generation Cannot Be Rewarded: Length-Adaptive Average Lagging for Simultaneous Speech
    Translation"; Polák et al. (2022), "CUNI-KIT System for Simultaneous Speech Translation Task at IWSLT 2022".
    """
    return _lagging(delays_s, source_s, max(reference_length, len(delays_s)))


def _lagging(delays_s: Sequence[float], source_s: float, ideal_length: int) -> float:
    counted = next((i for i, delay_s in enumerate(delays_s, 1) if delay_s >= source_s), len(delays_s))
    # An empty reference gives no pace to keep; SimulEval would divide by zero.
    pace_s = source_s / ideal_length if ideal_length else 0.0
    return sum(delay_s - i * pace_s for i, delay_s in enumerate(delays_s[:counted])) / counted


@dataclass(frozen=True, slots=True)
class TimedSentence:
    """A sentence of a reference, and when its source was said."""

    start_s: float
    end_s: float
    tokens: tuple[str, ...]


def stream_laal(delays_s: Sequence[float], parts: Sequence[slice], sentences: Sequence[TimedSentence]) -> float | None:
    """StreamLAAL: LAAL of each sentence, its delays counted from when the sentence began; the mean over sentences.

    Papi et al. (2024), "StreamAtt: Direct Streaming Speech-to-Text Translation with Attention-based Audio History
    Selection". For speech of any length with pauses, where one pace for all of it (AL, LAAL) means nothing.

    ``parts``: which tokens of the output belong to which of ``sentences``, from :func:`resegment`. As in the field,
    sentences without output do not count: report them beside the figure. None when no sentence has any.
    """
    scores = [
        length_adaptive_average_lagging(
            [delay_s - sentence.start_s for delay_s in delays_s[part]],
            sentence.end_s - sentence.start_s,
            len(sentence.tokens),
        )
        for part, sentence in zip(parts, sentences, strict=True)
        if part.stop > part.start
    ]
    return sum(scores) / len(scores) if scores else None


# --- alignment --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of an alignment: tokens of the reference, and tokens of the output that stand in their place.

    ``equal`` and ``substitute`` have as many of either; ``delete`` has no output, ``insert`` no reference.
    """

    kind: Literal["equal", "substitute", "delete", "insert"]
    reference: slice
    output: slice


def align_tokens(reference: Sequence[str], output: Sequence[str]) -> list[Chunk]:
    """The alignment with the fewest edits (Levenshtein), by jiwer. Tokens must not be empty or contain spaces.

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    jiwer = require("jiwer", "eval", "Measuring latency")
    found = jiwer.process_words(" ".join(reference), " ".join(output)).alignments[0]
    return [
        Chunk(one.type, slice(one.ref_start_idx, one.ref_end_idx), slice(one.hyp_start_idx, one.hyp_end_idx))
        for one in found
    ]


def resegment(output: Sequence[str], references: Sequence[Sequence[str]]) -> list[slice]:
    """Cut ``output`` into as many parts as there are ``references``, so that the parts differ least from them.

    Matusov et al. (2005), "Evaluating Machine Translation Output with Automatic Sentence Segmentation": the cuts that
    give the lowest word error rate, which the alignment of the whole with the fewest edits gives. Case, accents and
    punctuation do not count. Tokens between two sentences that resemble neither go with the first.

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    if not references:
        return []
    owners = [n for n, reference in enumerate(references) for _ in reference]
    ends = [0] * len(references)  # where the part of each sentence ends, if it has one
    owner = 0
    for chunk in align_tokens([_key(token) for one in references for token in one], [_key(token) for token in output]):
        for offset, place in enumerate(range(chunk.output.start, chunk.output.stop)):
            if chunk.kind != "insert":
                owner = owners[chunk.reference.start + offset]
            ends[owner] = place + 1
    cuts = [0]
    for end in ends:
        cuts.append(max(cuts[-1], end))
    return [slice(start, stop) for start, stop in pairwise(cuts)]


def _key(token: str) -> str:
    """What of a token counts when two are compared: letters and digits; all of it where there are none."""
    decomposed = unicodedata.normalize("NFKD", token.casefold())
    return "".join(c for c in decomposed if c.isalnum()) or token


# --- flicker ----------------------------------------------------------------------------------------------------------


def erasure(before: Sequence[str], after: Sequence[str]) -> int:
    """How many tokens at the end of ``before`` must go before ``after`` can be written by adding to it."""
    common = 0
    while common < min(len(before), len(after)) and before[common] == after[common]:
        common += 1
    return len(before) - common


def normalized_erasure(outputs: Sequence[Sequence[str]]) -> float | None:
    """NE: tokens erased on the way, for each token of the last one of ``outputs``, the texts shown one after another.

    Arivazhagan et al. (2020), "Re-translation versus Streaming for Simultaneous Translation": 0 is text that only
    grows; below 0.2 hardly anything is revised. None when nothing is left in the end.
    """
    if not outputs or not outputs[-1]:
        return None
    return sum(erasure(before, after) for before, after in pairwise(outputs)) / len(outputs[-1])


# --- summaries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """How a delay is distributed. Percentiles are interpolated linearly, as numpy does."""

    count: int
    min_s: float
    mean_s: float
    p50_s: float
    p95_s: float
    max_s: float

    @classmethod
    def of(cls, delays_s: Sequence[float]) -> Spread | None:
        """None for no delays."""
        if not delays_s:
            return None
        p50_s, p95_s = np.quantile(delays_s, (0.5, 0.95))
        mean_s = sum(delays_s) / len(delays_s)
        return cls(len(delays_s), min(delays_s), mean_s, float(p50_s), float(p95_s), max(delays_s))
