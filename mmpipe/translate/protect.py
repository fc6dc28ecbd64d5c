"""Keeping what must not be translated: addresses, e-mails, emoji, code, handles, placeholders, numbers.

Each protected item is replaced by a token that every engine copies, and put back afterwards. The tokens, ``ZXA``,
``ZXB``, ..., were chosen by trial among 24 forms (``X1``, ``[1]``, ``7301``, ``<1>``, ...): of 158 sentences with
one to three of them, Bergamot and nine Apertium pairs copied every one exactly once. Whether they came back is
checked all the same, and a text that lost one is translated again around its items.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_DOMAIN = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+"
_EMOJI = (
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2190-\u21ff\u2300-\u23ff\u25a0-\u25ff\u3030\u303d\u00a9\u00ae\u2122"
    "\u2070-\u209c\u00b2\u00b3\u00b9\u00bc-\u00be\u2150-\u215f\u2200-\u22ff]"
)

#: What is always protected. The first alternative that matches at a place wins.
_ALWAYS = re.compile(
    r"`[^`]+`"  # code
    r"|(?:https?|ftp)://[^\s<>\"'“”«»]*[^\s<>\"'“”«».,;:!?)\]}…]"
    r"|\bwww\.[^\s<>\"'“”«»]*[^\s<>\"'“”«».,;:!?)\]}…]"
    rf"|\b[\w.+-]+@{_DOMAIN}[a-z]{{2,}}\b"  # e-mail
    rf"|\b{_DOMAIN}(?:com|org|net|edu|gov|info|io|dev|app|ai|eu|uk|us|br|pt|es|fr|it|de)\b(?:/[^\s<>\"'.,;:!?)\]]*)?"
    r"|</?[a-z][^<>]*>"  # a tag
    r"|\$?\{\{?[^{}\s]*\}?\}|%\(\w+\)[sdif]|%(?:\d+\$)?[sdif]\b"  # {name}, {{name}}, ${name}, %(name)s, %s
    r"|(?<!\w)[@#]\w[\w.-]*\w"  # @handle, #tag
    r"|\b\w+(?:\.\w+)*\(\)|\b\w*[^\W_]_[^\W_]\w*\b|(?<!\S)--?[a-z][\w-]*"  # call(), snake_case, --flag
    rf"|(?:[0-9#*]\ufe0f?\u20e3|[\U0001f1e6-\U0001f1ff]{{2}}|{_EMOJI}[\ufe0e\ufe0f\u20e3\u200d\U0001f3fb-\U0001f3ff"
    r"\U000e0020-\U000e007f]*)+",  # emoji with all that joins them, other signs
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
#: A number with what belongs to it: $1,234.56, 20 €, 5%, 10:30, 24/7, 2024-05-01, +44 20 7946
_AMOUNT = re.compile(
    r"(?:[-+−]|(?:R\$|US\$|[$€£¥₹₩₽])\s?)?(?<![\w.])\d+(?:[.,:/\-\u00a0\u202f]\d+)*(?:\s?[%‰°€£¥₹₩₽])?(?!\w)"
)
_LETTER = re.compile(r"[^\W\d_]")

Span = tuple[int, int, str]  # start, end, what stands there in the end


def protected_spans(text: str) -> list[Span]:
    """Where ``text`` holds what must come back exactly whatever happens, in order."""
    return [(match.start(), match.end(), match[0]) for match in _ALWAYS.finditer(text)]


def number_spans(text: str) -> list[Span]:
    """Where ``text`` holds a number, with its currency or unit sign."""
    return [(match.start(), match.end(), match[0]) for match in _AMOUNT.finditer(text)]


def without_overlaps(first: Iterable[Span], then: Iterable[Span]) -> list[Span]:
    """Both, in order, without those of ``then`` that touch one of ``first``."""
    kept = list(first)
    kept += [span for span in then if not any(span[0] < end and start < span[1] for start, end, _ in kept)]
    return sorted(kept)


@dataclass(frozen=True)
class Masked:
    """A text in which tokens stand for protected items."""

    text: str
    items: tuple[str, ...]  # what stands for each token in the end
    _prefix: str
    _numbers: Counter[str]  # numbers left in the text, which must come back as often

    @property
    def has_words(self) -> bool:
        """Whether anything is left to translate."""
        return bool(_LETTER.search(_token(self._prefix).sub("", self.text)))

    @property
    def is_shouted(self) -> bool:
        """Whether all of it is in capitals, more than an abbreviation would be."""
        words = _token(self._prefix).sub("", self.text)
        return words.isupper() and len(_LETTER.findall(words)) > 5

    def lowered(self) -> str:
        """The text in lower case but for its first letter, the tokens as they are."""
        low = self.text.lower()
        for match in _token(self._prefix).finditer(self.text):
            low = low[: match.start()] + match[0] + low[match.end() :]
        first = _LETTER.search(low)
        return low if first is None else low[: first.start()] + first[0].upper() + low[first.end() :]

    def restore(self, translated: str) -> str | None:
        """``translated`` with the items in place of their tokens; None if one did not come back exactly once."""
        token = _token(self._prefix)
        found = Counter(match[1].upper() for match in token.finditer(translated))
        if found != Counter(_letters(index) for index in range(len(self.items))):
            return None
        return token.sub(lambda match: self.items[_index(match[1])], translated)

    def kept_numbers(self, translated: str) -> bool:
        """Whether the numbers that were left in the text are in ``translated`` as they were."""
        numbers = _numbers_in(_token(self._prefix).sub(" ", translated))
        return all(numbers[number] == count for number, count in self._numbers.items())


def mask(text: str, spans: Sequence[Span]) -> Masked:
    """``text`` with a token in place of each of ``spans``, or of several that touch."""
    prefix = next(p for p in ("ZX", "QX", "XV", "ZQ", "QZX") if p not in text.upper())
    items: list[str] = []
    pieces: list[str] = []
    at = 0
    for start, end, item in spans:
        if items and start == at:
            items[-1] += item
        else:
            pieces.append(text[at:start])
            items.append(item)
        at = end
    pieces.append(text[at:])
    masked = pieces[0]
    for index, piece in enumerate(pieces[1:]):
        before = " " if masked[-1:].isalnum() else ""  # a token is a word of its own
        after = " " if piece[:1].isalnum() else ""
        masked += before + prefix + _letters(index) + after + piece
    return Masked(masked, tuple(items), prefix, _numbers_in(" ".join(pieces)))


def _numbers_in(text: str) -> Counter[str]:
    """The numbers of ``text``, each as it stands there with its signs, and as bare figures: "1st" has those too."""
    return Counter(match[0] for match in _AMOUNT.finditer(text)) + Counter(_NUMBER.findall(text))


def apart(text: str, spans: Sequence[Span]) -> list[str]:
    """What stands between ``spans``, and what stands for them, in turns: an odd number of pieces."""
    pieces: list[str] = []
    at = 0
    for start, end, item in spans:
        pieces += [text[at:start], item]
        at = end
    return [*pieces, text[at:]]


def _letters(index: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA, ..."""
    letters = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def _index(letters: str) -> int:
    index = 0
    for letter in letters.upper():
        index = index * 26 + ord(letter) - ord("A") + 1
    return index - 1


def _token(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W\d_]){prefix}([A-Z]{{1,2}})(?![^\W\d_])", re.IGNORECASE)
