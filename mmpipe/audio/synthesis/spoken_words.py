"""How a language says what is written in signs: months, money, units, symbols, abbreviations, letters.

One file a language in ``spoken/``, ``LANGUAGE.toml``; ``normalize`` has the rules that use them. A new language is a
new file there and needs no code.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Noun(NamedTuple):
    """What is counted: its name after one and after many, and its gender, which the number takes on."""

    one: str
    many: str
    gender: str = ""  # "feminine" where the number must agree

    @property
    def feminine(self) -> bool:
        return self.gender == "feminine"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenWords:
    """One language's table."""

    num2words: str  # the language's name in num2words
    decimal: str  # the sign before decimals: "." or ","
    decimal_name: str
    groups: str  # the signs that may stand between thousands
    minus: str
    range_to: str  # "10-15": ten to fifteen
    over: str  # "3/7": three over seven
    percent: str
    at: str  # in an e-mail address
    dot: str  # there and in an address on the web, like the next three
    slash: str
    hyphen: str
    underscore: str
    months: tuple[str, ...]
    date: str  # of {day}, {month}, {year}
    month_first: bool  # 3/5/2024 is 5 March
    first_day: str = ""  # the first of a month, where that is no plain number
    hour: Noun
    time: str  # of {hours}, {noun}, {minutes}
    full_hour: str  # of {hours}, {noun}
    millions: str  # words that multiply the number before them, as a regular expression
    millions_of: str  # what links them to what is counted: "cinco milhões de dólares"
    and_cents: str
    ordinal: str  # what follows the figures of an ordinal, as regular expressions
    ordinal_feminine: str
    money: Mapping[str, tuple[Noun, Noun]]  # symbol or code -> the unit and its hundredth
    multiples: Mapping[str, Noun]  # short for words of ``millions``, behind an amount of money: "$5m"
    units: Mapping[str, Noun]
    fractions: Mapping[str, str]
    symbols: Mapping[str, str]
    abbreviations: Mapping[str, str]  # with their dots
    closing: frozenset[str]  # those whose dot may also end a sentence
    before_names: Mapping[str, str]  # abbreviations only where a capital follows
    before_numbers: Mapping[str, str]  # and only where figures follow; with a capital: as written
    letters: Mapping[str, str]  # capital -> its name, where the letter alone would be read as a word
    spelled: frozenset[str]  # acronyms that could be read as words and are not


@cache
def spoken_words(language: str) -> SpokenWords | None:
    """The table of ``language`` (ISO 639-1); None where there is none yet."""
    path = files("mmpipe.audio.synthesis") / "spoken" / f"{language}.toml"
    if not language.isalpha() or not path.is_file():
        return None
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    table |= {
        "months": tuple(table["months"]),
        "hour": Noun(*table["hour"]),
        "money": {sign: (Noun(*unit), Noun(*cent)) for sign, (unit, cent) in table["money"].items()},
        "multiples": {short: Noun(*noun) for short, noun in table["multiples"].items()},
        "units": {sign: Noun(*noun) for sign, noun in table["units"].items()},
        "closing": frozenset(table["closing"]),
        "spelled": frozenset(table["spelled"]),
    }
    return SpokenWords(**table)
