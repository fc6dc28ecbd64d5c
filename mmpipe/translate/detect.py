"""The language of a short text, told by its letter sequences (lingua).

lingua knows 75 languages. Here it chooses among 29 much-used ones, by trigrams alone ("low accuracy mode"): all
languages with all n-grams take 930 MB and several seconds to load, and give exotic answers to short texts (Tswana
for "Il museo è chiuso"); this takes 30 MB and 0.2 s. On the first n words of 280 sentences in seven languages, taken
only where lingua was at least 90 % sure, it answered 93 (1 wrong) at two words, 203 (2 wrong) at five and 265
(1 wrong) for whole sentences. Languages outside the 29, such as Galician, are taken for a neighbour.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from mmpipe.errors import LanguageError
from mmpipe.translate.languages import NAMES
from mmpipe.translate.protect import protected_spans

if TYPE_CHECKING:
    from lingua import LanguageDetector

_CODES = "ar ca cs da de el en es fi fr he hi hu id it ja ko nb nl pl pt ro ru sv th tr uk vi zh"
LANGUAGES = tuple(_CODES.split())
SURE = 0.9  # probability from which an answer is taken
# To contradict the caller takes more: a text of some length, a sure answer, and next to no chance for the claim.
_CONTRADICT_LETTERS = 60
_CONTRADICT = 0.95
_CHANCE = 0.02
# Neighbours that lingua was seen to take for each other, or is known to.
_CONFUSED = [{"ca", "es"}, {"es", "pt"}, {"nb", "da"}, {"nb", "sv"}, {"da", "sv"}, {"ru", "uk"}]


def detect_language(text: str) -> str:
    """The language of ``text``, ISO 639-1.

    Raises:
        LanguageError: there is no text, or too little to be sure.
    """
    language, probability, letters = _guess(text)
    if letters == 0:
        raise LanguageError(
            "There are no words to tell the language by. Say which it is with --from, such as --from en"
        )
    if probability < SURE:
        raise LanguageError(
            "Cannot tell for sure which language the text is in. Say which it is with --from, such as --from en"
        )
    return language


def check_language(text: str, claimed: str) -> None:
    """Refuse a text that is clearly not in the language ``claimed`` (ISO 639-1). Lets pass whatever is in doubt.

    Raises:
        LanguageError: it is in another language, which the message names.
    """
    if claimed not in LANGUAGES:
        return
    language, probability, letters = _guess(text)
    if letters < _CONTRADICT_LETTERS or probability < _CONTRADICT or {language, claimed} in _CONFUSED:
        return
    if language != claimed and _probability(text, claimed) < _CHANCE:
        raise LanguageError(
            f"The text is said to be in {NAMES[claimed]}, but it is in {NAMES[language]}. "
            f"Say --from {language}, or leave --from out"
        )


def _guess(text: str) -> tuple[str, float, int]:
    """The likeliest language, its probability, and how many letters that rests on."""
    words = _words(text)
    values = _detector().compute_language_confidence_values(words)
    best = values[0]
    return best.language.iso_code_639_1.name.lower(), best.value, sum(map(str.isalpha, words))


def _probability(text: str, language: str) -> float:
    values = _detector().compute_language_confidence_values(_words(text))
    return next(v.value for v in values if v.language.iso_code_639_1.name.lower() == language)


def _words(text: str) -> str:
    """The beginning of ``text`` without addresses, code and numbers, which belong to no language."""
    text = text[:2000]
    for start, end, _ in reversed(protected_spans(text)):
        text = text[:start] + " " + text[end:]
    return re.sub(r"\s+", " ", text)


@cache
def _detector() -> LanguageDetector:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in LANGUAGES]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode().build()
