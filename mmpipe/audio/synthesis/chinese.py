"""Mandarin text to the phonemes that Kokoro's Chinese voices were trained with.

The steps are those of misaki's ``zh.ZHG2P`` (https://github.com/hexgrad/misaki, Apache-2.0): numbers as characters,
words by jieba, their pinyin, the pinyin's IPA with the tones as arrows; words are apart by a space.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mmpipe.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable

_WHAT = "Chinese speech"
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
_LATIN = re.compile(r"[^\W\d_](?:[\w' -]*\w)?")
_MARKS = str.maketrans(
    {
        **dict.fromkeys("、，", ", "),
        **dict.fromkeys("。．", ". "),
        "！": "! ",
        "？": "? ",
        "：": ": ",
        "；": "; ",
        "…": "… ",
        "（": " (",
        "）": ") ",
        **dict.fromkeys("《「『【“«", " “"),
        **dict.fromkeys("》」』】”»", "” "),
    }
)
# The IPA of pinyin-to-ipa, rewritten in Kokoro's alphabet. Order matters: the third tone contains the second.
_KOKORO = (
    ("ʈʂ", "ꭧ"),
    ("tɕ", "ʨ"),
    ("ts", "ʦ"),
    ("˧˩˧", "↓"),  # third tone
    ("˧˥", "↗"),  # second
    ("˥˩", "↘"),  # fourth
    ("˥", "→"),  # first
    ("ɻ̩", "ɨ"),
    ("ɹ̩", "ɨ"),
    ("\u032f", ""),  # the mark of a non-syllabic vowel
)


class ChineseG2P:
    """Callable: Mandarin text -> phonemes in Kokoro's alphabet.

    ``other``: text to phonemes, for the Latin words in between.

    Raises:
        MissingDependencyError: the extra ``zh`` is not installed.
    """

    def __init__(self, other: Callable[[str], str]) -> None:
        self._cut = require("rjieba", "zh", _WHAT).cut
        self._numbers = require("cn2an", "zh", _WHAT).transform
        self._to_ipa = require("pinyin_to_ipa", "zh", _WHAT).pinyin_to_ipa
        pypinyin = require("pypinyin", "zh", _WHAT)
        self._pinyin = pypinyin.lazy_pinyin
        self._style = pypinyin.Style.TONE3
        self._other = other

    def __call__(self, text: str) -> str:
        text = self._written_out(text)
        pieces, end = [], 0
        for run in _HAN.finditer(text):
            pieces.append(self._between(text[end : run.start()]))
            pieces.append(" ".join(self._word(word) for word in self._cut(run.group())))
            end = run.end()
        pieces.append(self._between(text[end:]))
        return " ".join("".join(pieces).split())

    def _written_out(self, text: str) -> str:
        try:
            return str(self._numbers(text, "an2cn"))
        except ValueError:  # a number it cannot read, such as one of 17 digits: better unread than unheard
            return text

    def _between(self, text: str) -> str:
        return _LATIN.sub(lambda word: f" {self._other(word.group())} ", text.translate(_MARKS))

    def _word(self, word: str) -> str:
        return "".join(map(self._syllable, self._pinyin(word, style=self._style, neutral_tone_with_five=True)))

    def _syllable(self, pinyin: str) -> str:
        try:
            ipa = "".join(next(iter(self._to_ipa(pinyin))))
        except ValueError:  # a rare character without pinyin comes back as itself
            return ""
        for old, new in _KOKORO:
            ipa = ipa.replace(old, new)
        return ipa
