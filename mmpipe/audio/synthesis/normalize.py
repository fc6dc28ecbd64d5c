"""Text as it is written to text as it is spoken: "R$ 12,50 às 10h30" to "doze reais e cinquenta centavos às ...".

The rules run one after the other over the text; each leaves words behind, which later rules pass over. What a
language says for a sign is in its table (``spoken/LANGUAGE.toml``); in languages without a table only what no voice
should read is dealt with (emoji, control characters, addresses), and numbers are left to the phonemiser.

Two promises, kept by tests: no word of the text is lost, and no text whatsoever makes it fail.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from mmpipe.audio.synthesis.numerals import FIGURES, Number, Numerals
from mmpipe.audio.synthesis.spoken_words import spoken_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from re import Match

    from mmpipe.audio.synthesis.spoken_words import Noun, SpokenWords

_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_DOMAINS = "com|org|net|edu|gov|info|io|dev|app|br|pt|es|fr|uk|eu|de"
_URL = re.compile(
    rf"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"“”«»]*[\w/]|\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:{_DOMAINS})\b(?:/[\w/.#?=&%-]*\w)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"^(?:(?:https?|ftp)://)?(?:www\.)?", re.IGNORECASE)

_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")
_SPACES_AND_DASHES = str.maketrans({"\u00ad": None, "\u2011": "-", "\u2010": "-", "–": "—", "\u2212": "-"})
_KEPT_MARKS = frozenset(".,;:!?…—-'\"()¿¡“”«»\n")
_DROPPED = frozenset({"So", "Sk", "Cs", "Co", "Cn", "Cf", "Cc"})  # emoji and other pictures, control characters
_JOINERS = "\u200c\u200d"  # they shape letters in Persian and in the scripts of India
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\u20e3]")
_SPACES = re.compile(r"([^\S\n])[^\S\n]+")  # in a row: patterns that begin with white space would try each of them
# No word is so long; cut, so that no pattern goes over it again and again.
_ENDLESS = re.compile(r"\S{300}(?=\S)")
_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4"}

_ROMAN = re.compile(r"(?<![\w.'-])(?=[IVX]{2})(X{0,3})(IX|IV|V?I{0,3})(?<=[IVX]{2})(?=(?:e|er|ème)?\b(?![.'-]\w))")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10}
_ACRONYM = re.compile(r"(?<![^\W\d_])(?:(?:[A-Z]\.){2,}|[A-Z]{2,6}(?=s?\b))(?P<plural>s?)")
_INITIAL = re.compile(r"(?<![\w°.])([A-Z])\.(?=\s+[A-Z])")
# An acronym is read as a word if it looks like one: vowels, and no heap of consonants at either end.
_PRONOUNCEABLE = re.compile(
    r"^(?:[^aeiouy]|[bcdfgkptv][lr]|[cstpw]h|s[ckmnptw])?[aeiouy]+"
    r"(?:[^aeiouy]{1,2}[aeiouy]+)*(?:[^aeiouy]|[lnr][cdkpst]|st|ts|ng|ss|ck|[cst]h|ll|ff|ght)?$"
)
_ANY_VOWEL = re.compile("[^aeiouy]*[aeiouy]")  # where all is in capitals, only "BBC" and the like must be spelled
_SPACED_FIGURES = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
# A dot or a space is within a number only if figures follow it at once: not ". 10 people".
_WITHIN_PHONE = r"(?:[\d()-]|\.(?=\d)|\s+(?=[\d(]))"
_PHONE = rf"(?<![\w.,])(?:\+\d{_WITHIN_PHONE}{{5,}}\d|\(\d{{2,3}}\)\s?\d[\d\s-]{{5,}}\d|\d{{3,5}}-\d{{4}})(?![\w-])"

_THOUSANDS = frozenset({"mil", "mille", "mila"})  # these are followed by what is counted without a link
_SINGULAR_BELOW_TWO = frozenset({"fr", "pt"})  # where 1.5 million is "um vírgula cinco milhão"

_Rule = Callable[["Match[str]"], str]
_Step = tuple[re.Pattern[str], _Rule]


def normalize(text: str, language: str) -> str:
    """``text`` as it is said in ``language`` (ISO 639-1). Line breaks stay, other white space becomes one space."""
    words = spoken_words(language)
    say = _without_addresses if words is None else _rules(language)
    # A line at a time: what is written at the end of one has nothing to do with a number at the start of the next.
    lines = _SPACES.sub(r"\1", _clean(text, keep_joiners=words is None)).split("\n")
    return "\n".join(" ".join(say(line).split()) for line in lines).strip()


def _without_addresses(line: str) -> str:
    return _URL.sub(lambda url: re.sub(r"\W+", " ", _SCHEME.sub("", url.group())), line)


@cache
def _rules(language: str) -> Callable[[str], str]:
    words = spoken_words(language)
    assert words is not None
    return _Rules(language, words).apply


def _clean(text: str, *, keep_joiners: bool) -> str:
    """Composed letters, plain digits, one kind of apostrophe and hyphen; no emoji, no control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = _VARIATION_SELECTORS.sub("", text).translate(_SPACES_AND_DASHES).translate(_APOSTROPHES)
    text = unicodedata.normalize("NFC", text)
    return "".join(_clean_sign(sign, keep_joiners) for sign in text)


def _clean_sign(sign: str, keep_joiners: bool) -> str:
    if sign in "\n°№" or (keep_joiners and sign in _JOINERS) or (sign.isascii() and sign.isprintable()):
        return sign
    category = unicodedata.category(sign)
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    if category in _DROPPED:
        return "" if category == "Cf" else " "
    return sign


class _Rules:
    """The rules of one language, with their patterns made once."""

    def __init__(self, language: str, words: SpokenWords) -> None:
        self._language = language
        self._words = words
        self._numerals = Numerals(language, words)
        self._abbreviations = [
            *_abbreviations(words.before_names, frozenset(), r"(?=\s?[^\W\d_a-zà-ÿ]|-)", in_any_case=lambda _: False),
            # "No. 5" is a number, "no." ends a sentence: those with a capital are taken as they are written.
            *_abbreviations(words.before_numbers, words.closing, r"(?=\s?\d)", in_any_case=str.islower),
            *_abbreviations(words.abbreviations, words.closing, r"(?!\w)", in_any_case=lambda _: True),
        ]
        self._steps = [*self._english_steps(), *self._common_steps()] if language == "en" else self._common_steps()

    def _common_steps(self) -> list[_Step]:
        """What to look for and what says it, in an order in which an earlier one takes nothing from a later one."""
        words, ordinal = self._words, self._numerals.ordinal
        minus, figures = r"(?P<minus>(?<![\w)])-)?", rf"(?P<figures>{FIGURES})"
        units, money = _any_of(words.units), _any_of(words.money)
        sign = r"(?:(?<!\w)|(?!\w))"  # a code (USD) begins a word, "$" stands behind letters, too: A$5
        multiple = rf"(?P<multiple>{_any_of(words.multiples)})(?![\w'])"
        millions = rf"(?:\s?(?:(?P<millions>{words.millions})\b|{multiple}))?"
        # "2 h" is a time of the day only where that is said as a number of hours, too: "two o'clock" is no duration.
        after_hours = r"\s?h\s?(\d{2})?" if "{noun}" in words.full_hour else r"h(\d{2})"
        steps: list[tuple[str, _Rule]] = [
            (r"#\s?(?=\d)", lambda _: f"{words.symbols['#']} "),
            (r"(?<!\d)(\d{4})-(\d{1,2})-(\d{1,2})(?![\d-])", self._iso_date),  # 2024-03-05
            (r"(?<![\d/.-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?![\d/-]|[.,]\d)", self._date),  # 5/3/2024
            (r"(?<![\d:.,])(\d{1,2}):(\d{2})(?::(\d{2}))?(?![\d:]|[.,]\d)", self._time),  # 10:30
            (rf"(?<![\w:.,])(\d{{1,2}}){after_hours}(?:\s?min)?(?!\w)", self._time),  # 10h30
            (_PHONE, self._phone),
            (rf"({money})\s?({FIGURES})([-—])(?=\d)", lambda match: match[2] + match[3] + match[1]),  # $5-10 is 5-$10
            # 10-15, 10 - 15; in "2024 -2%" it is a minus
            (rf"(?<=\d)(?:[-—]\s?|\s[-—]\s)(?=(?:{money})?\s?\d)", lambda _: f" {words.range_to} "),
            (rf"{minus}{sign}(?P<money>{money})\s?{figures}{millions}(?!\d)", self._money),  # $5 million
            (rf"{minus}(?<![\w.,]){figures}{millions}\s?(?P<money>{money})(?!\w)", self._money),  # 5 €
            (rf"{minus}(?<![\w.,]){figures}\s?(?P<unit>{units})(?![\w²³/])", self._unit),  # 5 km
            (rf"{minus}{figures}\s?%", self._percent),
            (rf"{minus}(?<![\d.,/])(\d{{1,3}})/(\d{{1,3}})(?![\d/]|[.,]\d)", self._fraction),  # 1/2
            (rf"(?<![\d.,])(\d+)\.?(?:{words.ordinal})(?!\w)", self._ordinal),  # 1st, 1º
            (rf"{minus}{figures}(?=\s+(?P<following>[^\W\d_]+))?", self._plain),
        ]
        if words.ordinal_feminine:
            ending = rf"(?<![\d.,])(\d+)\.?(?:{words.ordinal_feminine})(?!\w)"
            steps.insert(-2, (ending, lambda match: ordinal(match[1], feminine=True)))  # 1ª
        return [(re.compile(pattern), rule) for pattern, rule in steps]

    def _english_steps(self) -> list[_Step]:
        months = "|".join(self._words.months)
        return [
            (re.compile(rf"\b({months}) (\d{{1,2}})(?![\d:])", re.IGNORECASE), self._month_day),  # March 5
            (re.compile(r"(?<!\w)'?((?:\d\d)?\d0)s\b"), self._decade),  # 1990s
            (re.compile(r"(?<=\d)\s?([ap])\.?m\b\.?", re.IGNORECASE), lambda match: f" {match[1].upper()} M"),  # 5pm
        ]

    def apply(self, text: str) -> str:
        """One line, as it is said."""
        shouted = _is_shouted(text)
        for sign, written in _VULGAR.items():
            text = re.sub(rf"\s*{sign}", f" {written}", text.replace(f"-{sign}", f"-{written}"))
        text = _ENDLESS.sub(r"\g<0> ", text)
        text = _EMAIL.sub(self._email, text)
        text = _URL.sub(self._url, text)
        for pattern, spoken, closing in self._abbreviations:
            text = pattern.sub(partial(_expand, spoken, closing), text)
        text = _INITIAL.sub(r"\1", text)
        text = _ROMAN.sub(_roman, text)
        if " " in self._words.groups:
            text = _SPACED_FIGURES.sub(lambda match: match[0].replace(" ", "\u202f"), text)
        for pattern, rule in self._steps:
            text = pattern.sub(partial(_apart, rule), text)
        text = _ACRONYM.sub(partial(self._acronym, shouted), text)
        text = "".join(map(self._symbol, text))
        return _tidy(text)

    # -- numbers ------------------------------------------------------------------------------------------------

    def _number(self, match: Match[str], noun: Noun | None = None) -> str:
        number = self._numerals.parse(match["figures"])
        if number is None:
            return self._numerals.say_figures(match["figures"])
        return self._numerals.say(number, feminine=bool(noun and noun.feminine), counting=noun is not None)

    def _minus(self, match: Match[str]) -> str:
        return f"{self._words.minus} " if match["minus"] else ""

    def _plain(self, match: Match[str]) -> str:
        return self._minus(match) + self._numerals.say_figures(match["figures"], match["following"] or "")

    def _percent(self, match: Match[str]) -> str:
        return f"{self._minus(match)}{self._number(match)} {self._words.percent}"

    def _unit(self, match: Match[str]) -> str:
        noun = self._words.units[match["unit"]]
        number = self._numerals.parse(match["figures"])
        name = noun.one if number and number.is_one else noun.many
        return f"{self._minus(match)}{self._number(match, noun)} {name}"

    def _money(self, match: Match[str]) -> str:
        return self._minus(match) + self._amount(match)

    def _amount(self, match: Match[str]) -> str:
        unit, cent = self._words.money[match["money"]]
        number = self._numerals.parse(match["figures"])
        if millions := match["millions"] or self._multiple(match["multiple"], number):
            of = "" if millions in _THOUSANDS else self._words.millions_of
            return " ".join(filter(None, [self._number(match), millions, of, unit.many]))
        if number is None or len(number.decimals) > 2:
            return f"{self._number(match, unit)} {unit.many}"
        whole, cents = Number(number.whole), Number(number.decimals.ljust(2, "0").lstrip("0"))
        said = f"{self._numerals.say(whole, feminine=unit.feminine, counting=True)} " + (
            unit.one if whole.is_one else unit.many
        )
        if not cents.whole or not number.decimals:
            return said
        said_cents = f"{self._numerals.say(cents, feminine=cent.feminine, counting=True)} " + (
            cent.one if cents.is_one else cent.many
        )
        return said_cents if not whole.whole.strip("0") else f"{said} {self._words.and_cents} {said_cents}"

    def _multiple(self, short: str | None, number: Number | None) -> str:
        """The word that ``short`` stands for: "R$ 2 bi" are "bilhões", "R$ 1,5 bi" is "bilhão"."""
        if not short:
            return ""
        noun = self._words.multiples[short]
        below_two = number is not None and number.whole == "1" and self._language in _SINGULAR_BELOW_TWO
        return noun.one if below_two or (number and number.is_one) else noun.many

    def _ordinal(self, match: Match[str]) -> str:
        return self._numerals.ordinal(match[1], shortened=self._language == "es" and match[0].endswith("er"))

    def _fraction(self, match: Match[str]) -> str:
        above, below = match[2], match[3]
        said = self._words.fractions.get(f"{above}/{below}") or (
            f"{self._numerals.say(Number(above))} {self._words.over} {self._numerals.say(Number(below))}"
        )
        return self._minus(match) + said

    def _phone(self, match: Match[str]) -> str:
        """Digit by digit, with a rest between the groups; but two years are a range."""
        years = re.fullmatch(r"(\d{4})-(\d{4})", match[0])
        if years and int(years[1]) < int(years[2]) < 2100:
            return f"{self._numerals.year(years[1])} {self._words.range_to} {self._numerals.year(years[2])}"
        return ", ".join(self._numerals.digits(group) for group in re.findall(r"\d+", match[0]))

    # -- dates and times ----------------------------------------------------------------------------------------

    def _iso_date(self, match: Match[str]) -> str:
        return self._say_date(match, day=match[3], month=match[2], year=match[1])

    def _date(self, match: Match[str]) -> str:
        day, month = (match[3], match[1]) if self._words.month_first else (match[1], match[3])
        if int(month) > 12:
            day, month = month, day
        year = match[4] if len(match[4]) == 4 else ("19" if int(match[4]) > 50 else "20") + match[4]
        return self._say_date(match, day=day, month=month, year=year)

    def _say_date(self, match: Match[str], day: str, month: str, year: str) -> str:
        if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12):
            return re.sub(r"\D", " ", match[0])
        return self._words.date.format(
            day=self._day(day), month=self._words.months[int(month) - 1], year=self._numerals.year(year)
        )

    def _day(self, day: str) -> str:
        if int(day) == 1 and self._words.first_day:
            return self._words.first_day
        if self._language == "en":
            return self._numerals.ordinal(day)
        return self._numerals.say(Number(str(int(day))))

    def _month_day(self, match: Match[str]) -> str:
        return f"{match[1]} {self._day(match[2])}" if 1 <= int(match[2]) <= 31 else match[0]

    def _time(self, match: Match[str]) -> str:
        hours, minutes, seconds = (part and int(part) for part in (*match.groups(), None)[:3])
        if int(hours or 0) > 24 or int(minutes or 0) > 59 or int(seconds or 0) > 59:
            return match[0].replace(":", " : ").replace("h", " h ")
        noun = self._words.hour
        number = Number(str(hours))
        said = self._numerals.say(number, feminine=noun.feminine)
        name = noun.one if hours in {0, 1} else noun.many
        following = match.string[match.end() :].lstrip().casefold()
        if not minutes and not seconds:
            # "10:00 am", "10:00 horas": what follows says that it is the hour.
            if following.startswith(("am", "pm", "a m", "p m", "hora", "heure", *([name] if name else []))):
                return said
            return self._words.full_hour.format(hours=said, noun=name)
        told = self._minutes(int(minutes or 0))
        said = self._words.time.format(hours=said, noun=name, minutes=told)
        return f"{said} {self._numerals.say(Number(str(seconds)))}" if seconds else said

    def _minutes(self, minutes: int) -> str:
        said = self._numerals.say(Number(str(minutes)))
        return f"oh {said}" if self._language == "en" and minutes < 10 else said

    def _decade(self, match: Match[str]) -> str:
        said = self._numerals.year(match[1])
        return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"

    # -- words --------------------------------------------------------------------------------------------------

    def _email(self, match: Match[str]) -> str:
        return self._address(match[0])

    def _url(self, match: Match[str]) -> str:
        return self._address(_SCHEME.sub("", match[0]).rstrip("/"))

    def _address(self, address: str) -> str:
        words = self._words
        names = {".": words.dot, "/": words.slash, "-": words.hyphen, "_": words.underscore, "@": words.at}
        return " " + re.sub(r"[^\w\s]|_", lambda sign: f" {names.get(sign[0], '')} ", address) + " "

    def _acronym(self, shouted: bool, match: Match[str]) -> str:
        written = match[0].removesuffix("s")
        letters = written.replace(".", "")
        dotted = "." in written
        looks_like_a_word = (_ANY_VOWEL if shouted else _PRONOUNCEABLE).match(letters.lower())
        read = looks_like_a_word and letters not in self._words.spelled
        if read and not dotted:
            return match[0]
        spelled = " ".join(self._words.letters.get(letter, letter) for letter in letters)
        spelled += "'s" if match["plural"] else ""
        rest = match.string[match.end() :]
        return f"{spelled}." if dotted and not rest.strip() else spelled

    def _symbol(self, sign: str) -> str:
        if sign.isalnum() or sign.isspace() or sign in _KEPT_MARKS:
            return sign
        if sign in self._words.symbols and sign != "#":  # of a hashtag; before figures it is said by now
            return f" {self._words.symbols[sign]} "
        if sign in self._words.money:
            return f" {self._words.money[sign][0].many} "
        return sign if unicodedata.category(sign).startswith("M") else " "


def _apart(rule: Callable[[Match[str]], str], match: Match[str]) -> str:
    """What ``rule`` says for ``match``, kept apart from letters beside it: "A4", "5G"."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return f"{' ' * before.isalnum()}{rule(match)}{' ' * after.isalnum()}"


def _is_shouted(line: str) -> bool:
    """Whether all of ``line`` is in capitals, more of them than an acronym has."""
    return line.isupper() and sum(map(str.isupper, line)) > 6


def _any_of(signs: Iterable[str]) -> str:
    """A pattern of any of ``signs``, longer ones first."""
    return "|".join(map(re.escape, sorted(signs, key=len, reverse=True)))


def _abbreviations(
    table: Mapping[str, str], closing: frozenset[str], following: str, *, in_any_case: Callable[[str], bool]
) -> list[tuple[re.Pattern[str], str, bool]]:
    """Pattern, words, and whether the dot may end a sentence, of each in ``table``; longer ones first."""
    patterns = []
    for written in sorted(table, key=len, reverse=True):
        flags = re.IGNORECASE if in_any_case(written) and len(written) > 2 and written.endswith(".") else re.NOFLAG
        pattern = re.escape(written).replace(r"\ ", r"\s?")
        compiled = re.compile(rf"(?<![\w.'])(?:{pattern}){following}", flags)
        patterns.append((compiled, table[written], written in closing))
    return patterns


def _expand(spoken: str, closing: bool, match: Match[str]) -> str:
    """The words for an abbreviation; its dot stays where it ends the sentence too."""
    rest = match.string[match.end() :]
    ends = not rest.strip() or (closing and re.match(r"\s+[^\W\d_a-zà-ÿ]", rest))
    return f"{spoken}." if match[0].endswith(".") and ends else spoken


def _roman(match: Match[str]) -> str:
    values = [_ROMAN_DIGITS[digit] for digit in match[0]]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return str(sum(-value if value < after else value for value, after in pairs))


def _tidy(text: str) -> str:
    """No spaces before marks, none doubled, no marks left alone by what was dropped."""
    text = re.sub(r"[ \t\u00a0\u202f]+", " ", text)
    return re.sub(r" +([.,;:!?…)»”])", r"\1", text)
