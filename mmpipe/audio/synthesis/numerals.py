"""Figures as words: whole numbers, decimals, ordinals, years, in the gender of what they count.

The words are num2words'; the reading of signs, digits one by one and the agreement in gender are done here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from num2words import num2words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmpipe.audio.synthesis.spoken_words import SpokenWords

#: Figures with the signs that can stand among them. What they mean depends on the language: :meth:`Numerals.parse`.
FIGURES = r"\d+(?:[.,\u00a0\u202f]\d+)*"

_TOO_LONG = 15  # digits: nobody takes in a number of quadrillions, and num2words has its limits
_YEARS = range(1100, 2100)
# Masculine to feminine, word for word; not before "milhão" and the like, which are masculine nouns themselves.
_FEMININE = {
    "pt": ((r"\bum\b(?! [mbt]\w*ilh)", "uma"), (r"\bdois\b(?! [mbt]\w*ilh)", "duas"), (r"entos\b", "entas")),
    "es": ((r"uno\b", "una"), (r"ientos\b", "ientas")),
    "it": ((r"^uno$", "una"),),
    "fr": ((r"\bun$", "une"),),
}
# Before a noun: "veintiún dólares", "un dollaro".
_BEFORE_MASCULINE = {"es": ((r"veintiuno$", "veintiún"), (r"\buno$", "un")), "it": ((r"^uno$", "un"),)}
_ORDINAL_FEMININE = {
    "pt": ((r"o\b", "a"),),
    "es": ((r"o\b", "a"),),
    "it": ((r"o$", "a"),),
    "fr": ((r"^premier$", "première"),),
}
# Endings of nouns that are feminine nearly always, and the common words that end so and are not.
_FEMININE_NOUN = {
    "pt": re.compile(r"(?:as?|ção|ções|dades?|gem|gens|^(?:mulher(?:es)?|vez(?:es)?|mães?|noites?|tardes?|partes?))$"),
    "es": re.compile(r"(?:as?|ción|ciones|dad|dades)$"),
    "it": re.compile(r"a$"),
}
_MASCULINE_NOUN = re.compile(
    r"^(?:dias?|días?|mapas?|planetas?|gramas?|quilogramas?|cometas?|papas?|para|pela|nada|cada|da|na|a|as|la|las)$"
    r"|(?:[eoi]mas?|gramas?|istas?)$"
)


@dataclass(frozen=True, slots=True)
class Number:
    """Figures understood. ``whole`` and ``decimals`` are digits."""

    whole: str
    decimals: str = ""

    @property
    def is_one(self) -> bool:
        return not self.decimals and self.whole.lstrip("0") == "1"


class Numerals:
    """Numbers in one language."""

    def __init__(self, language: str, words: SpokenWords) -> None:
        self._language = language
        self._words = words

    def parse(self, figures: str) -> Number | None:
        """What ``figures`` (of :data:`FIGURES`) mean; None where they are no number, as in a version 1.2.3.

        A text may follow the habits of another language ("3.14" in Portuguese): a sign is taken for the language's
        own unless the digits around it say otherwise.
        """
        parts = re.split(r"\D", figures)
        signs = re.findall(r"\D", figures)
        if not signs:
            return Number(figures)
        groups_of_three = all(len(part) == 3 for part in parts[1:]) and 1 <= len(parts[0]) <= 3 and parts[0] != "0"
        own = signs[0] in self._words.groups or not signs[0].isprintable() or signs[0].isspace()
        if groups_of_three and len(set(signs)) == 1 and (own or len(signs) > 1):
            return Number("".join(parts))
        if len(signs) == 1:
            return Number(parts[0], parts[1])
        if len(set(signs[:-1])) == 1 and signs[-1] not in signs[:-1] and all(len(part) == 3 for part in parts[1:-1]):
            return Number("".join(parts[:-1]), parts[-1])
        return None

    def say(self, number: Number, *, feminine: bool = False, counting: bool = False) -> str:
        """``counting``: a masculine noun follows, unless ``feminine`` says that it is a feminine one."""
        whole = self._cardinal(number.whole)
        if not number.decimals:
            if feminine:
                return self._rewrite(whole, _FEMININE)
            return self._rewrite(whole, _BEFORE_MASCULINE) if counting else whole
        return f"{whole} {self._words.decimal_name} {self._decimals(number.decimals)}"

    def say_figures(self, figures: str, following: str = "") -> str:
        """Words for ``figures``, agreeing with the word ``following``."""
        number = self.parse(figures)
        if number is None:
            return f" {self._words.dot} ".join(self._cardinal(part) for part in re.split(r"\D", figures))
        if self._language == "en" and figures.isdigit() and len(figures) == 4 and int(figures) in _YEARS:
            return self.year(figures)
        following = following.casefold()
        endings = _FEMININE_NOUN.get(self._language)
        feminine = bool(endings and endings.search(following) and not _MASCULINE_NOUN.search(following))
        return self.say(number, feminine=feminine, counting=bool(following) and number.is_one)

    def year(self, digits: str) -> str:
        if self._language == "en" and len(digits) == 4 and int(digits) in _YEARS:
            return _words(int(digits), "en", "year")
        return self._cardinal(digits)

    def ordinal(self, digits: str, *, feminine: bool = False, shortened: bool = False) -> str:
        """``shortened``: Spanish drops the last vowel before a masculine noun, "primer piso"."""
        if len(digits) > _TOO_LONG:
            return self.digits(digits)
        said = _words(int(digits), self._words.num2words, "ordinal") or self._cardinal(digits)
        if feminine:
            return self._rewrite(said, _ORDINAL_FEMININE)
        return said[:-1] if shortened else said

    def digits(self, digits: str) -> str:
        """One by one."""
        return " ".join(self._cardinal(digit) for digit in digits)

    def _cardinal(self, digits: str) -> str:
        if len(digits) > _TOO_LONG or (len(digits) > 1 and digits.startswith("0")):
            return self.digits(digits)
        return _words(int(digits), self._words.num2words, "cardinal") or self.digits(digits)

    def _decimals(self, digits: str) -> str:
        """English reads each digit; the others read short decimals as a number after their zeros."""
        if self._language == "en" or len(digits) > 3:
            return self.digits(digits)
        zeros = len(digits) - len(digits.lstrip("0"))
        rest = [self._cardinal(digits[zeros:])] if digits[zeros:] else []
        return " ".join([self.digits("0")] * zeros + rest)

    def _rewrite(self, said: str, rules: Mapping[str, Sequence[tuple[str, str]]]) -> str:
        for pattern, replacement in rules.get(self._language, ()):
            said = re.sub(pattern, replacement, said)
        return said


@lru_cache(maxsize=4096)
def _words(number: int, language: str, form: str) -> str:
    """num2words' words, or "" where it gives up. A comma between thousands would be spoken as a pause: dropped."""
    try:
        said = num2words(number, lang=language, to=form)
    except (NotImplementedError, OverflowError, ArithmeticError, LookupError, TypeError, ValueError):
        return ""
    return str(said).replace(",", "")
