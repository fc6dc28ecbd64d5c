"""Figures computed the field's way, by the field's libraries, with the field's normalizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmpipe.extras import require


def normalizer(language: str) -> Any:
    """The text normalizer that Whisper's authors publish with their error rates (Radford et al. 2022, appendix C)."""
    if language == "en":
        return require("whisper_normalizer.english", "eval", "Measuring error rates").EnglishTextNormalizer()
    return require("whisper_normalizer.basic", "eval", "Measuring error rates").BasicTextNormalizer()


def _normalized(references: Sequence[str], hypotheses: Sequence[str], language: str) -> tuple[list[str], list[str]]:
    normal = normalizer(language)
    return [normal(text) for text in references], [normal(text) for text in hypotheses]


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Word error rate over the whole corpus, after Whisper's normalization: 0.05 is 5 %.

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    jiwer = require("jiwer", "eval", "Measuring word error rates")
    return float(jiwer.wer(*_normalized(references, hypotheses, language)))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str], language: str) -> float:
    """Character error rate over the whole corpus, for languages written without spaces.

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    jiwer = require("jiwer", "eval", "Measuring character error rates")
    return float(jiwer.cer(*_normalized(references, hypotheses, language)))


def chrf(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """chrF2 of the whole corpus, 0..100 (Popović 2015, as sacrebleu computes it).

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    return float(require("sacrebleu", "eval", "Measuring chrF").corpus_chrf(list(hypotheses), [list(references)]).score)


def bleu(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """BLEU of the whole corpus, 0..100 (sacrebleu's default signature).

    Raises:
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    return float(require("sacrebleu", "eval", "Measuring BLEU").corpus_bleu(list(hypotheses), [list(references)]).score)
