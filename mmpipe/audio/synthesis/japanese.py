"""Japanese text to the phonemes that Kokoro's Japanese voices were trained with.

Open JTalk (by pyopenjtalk) reads the text: kanji, numbers and particles come out as spoken kana. The kana are then
written in Kokoro's alphabet by the table of misaki's ``cutlet`` (https://github.com/hexgrad/misaki, Apache-2.0).
"""

from __future__ import annotations

from typing import Any

from mmpipe.extras import require

# One row a consonant: the sounds before a, i, u, e, o, in katakana; "-" where there is no kana.
_ROWS = (
    ("アイウエオ", "a i ɯ e o"),
    ("ァィゥェォ", "a i ɯ e o"),
    ("カキクケコ", "ka kʲi kɯ ke ko"),
    ("ガギグゲゴ", "ɡa ɡʲi ɡɯ ɡe ɡo"),
    ("サシスセソ", "sa ɕi sɨ se so"),
    ("ザジズゼゾ", "ʣa ʥi zɨ ʣe ʣo"),
    ("タチツテト", "ta ʨi ʦɨ te to"),
    ("ダヂヅデド", "da ʥi zɨ de do"),
    ("ナニヌネノ", "na ɲi nɯ ne no"),
    ("ハヒフヘホ", "ha çi ɸɯ he ho"),
    ("バビブベボ", "ba bʲi bɯ be bo"),
    ("パピプペポ", "pa pʲi pɯ pe po"),
    ("マミムメモ", "ma mʲi mɯ me mo"),
    ("ラリルレロ", "ɾa ɾʲi ɾɯ ɾe ɾo"),
    ("ヤユヨャュョ", "ja jɯ jo ja jɯ jo"),
    ("ワヰヱヲヮ", "βa i e o βa"),
    ("ヷヸヹヺヴ", "va vʲi ve vo vɯ"),
)
# A kana and a small one make one sound: the consonant before ャ ュ ョ, and before small vowels in loanwords.
_PALATAL = {"キ": "kʲ", "ギ": "ɡʲ", "シ": "ɕ", "ジ": "ʥ", "チ": "ʨ", "ヂ": "ʥ", "ニ": "ɲ", "ヒ": "ç", "ビ": "bʲ"}
_PALATAL |= {"ピ": "pʲ", "ミ": "mʲ", "リ": "ɾʲ", "テ": "tʲ", "デ": "dʲ", "フ": "ɸʲ", "ヴ": "bʲ"}
_BEFORE_SMALL_VOWEL = {"ク": "kᵝ", "グ": "ɡᵝ", "ツ": "ʦ", "フ": "ɸ", "ヴ": "v", "ウ": "β", "シ": "ɕ", "ジ": "ʥ"}
_BEFORE_SMALL_VOWEL |= {"チ": "ʨ", "イ": "j", "キ": "kʲ", "ニ": "ɲ", "ヒ": "ç", "テ": "tʲ", "デ": "dʲ", "ト": "t"}
_BEFORE_SMALL_VOWEL |= {"ド": "d"}
_MARKS = {"。": ".", "、": ",", "？": "?", "！": "!", "：": ":", "；": ";", "（": "(", "）": ")", "…": "…", "—": "—"}
_MARKS |= dict.fromkeys("「『“", "“") | dict.fromkeys("」』”", "”")
_ENDS = frozenset(".,?!:;)”…—")


def _table() -> dict[str, str]:
    table = {kana: sound for row, sounds in _ROWS for kana, sound in zip(row, sounds.split(), strict=True)}
    for kana, consonant in _PALATAL.items():
        table |= {kana + small: consonant + vowel for small, vowel in zip("ャュョ", "aɨo", strict=True)}
    for kana, consonant in _BEFORE_SMALL_VOWEL.items():
        for small, vowel in zip("ァィゥェォ", "aiɯeo", strict=True):
            palatal = "ʲ" if vowel == "i" and consonant in {"ʦ", "v", "ɸ"} else ""
            table[kana + small] = consonant + palatal + vowel
    return table


_SOUNDS = _table()


class JapaneseG2P:
    """Callable: Japanese text -> phonemes in Kokoro's alphabet.

    Raises:
        MissingDependencyError: the extra ``ja`` is not installed.
    """

    def __init__(self) -> None:
        self._read: Any = require("pyopenjtalk", "ja", "Japanese speech").run_frontend

    def __call__(self, text: str) -> str:
        result = ""
        for word in self._read(" ".join(text.split())):
            # Open JTalk writes "、" for every mark it does not know better; the text's own mark says more.
            mark = _MARKS.get(word["string"], "")
            if word["mora_size"] == 0:
                result = result.rstrip() + mark + (" " if mark in _ENDS else "") if mark else result
                continue
            sounds = kana_sounds(word["pron"])
            # An ending or a suffix (chain_flag 1) and a lengthened vowel belong to the word before.
            joined = word["chain_flag"] == 1 or sounds.startswith("ː")
            if joined or not result or result[-1] in " (“":
                result += sounds
            else:
                result += " " + sounds
        return result.strip()


def kana_sounds(kana: str) -> str:
    """Phonemes of katakana. What is no kana (Open JTalk's accent marks, say) is left out."""
    sounds = ""
    position = 0
    while position < len(kana):
        if kana[position : position + 2] in _SOUNDS and position + 1 < len(kana):
            sounds += _SOUNDS[kana[position : position + 2]]
            position += 2
            continue
        sign = kana[position]
        position += 1
        if sign == "ー":
            sounds += "ː"
        elif sign == "ッ":
            sounds += "ʔ"
        elif sign == "ン":
            sounds += _nasal(_SOUNDS.get(kana[position : position + 1], ""))
        else:
            sounds += _SOUNDS.get(sign, "")
    return sounds


def _nasal(following: str) -> str:
    """ン takes the place of the consonant after it."""
    if following.startswith(("m", "p", "b")):
        return "m"
    if following.startswith(("k", "ɡ")):
        return "ŋ"
    if following.startswith(("ɲ", "ʨ", "ʥ")):
        return "ɲ"
    if following.startswith(("n", "t", "d", "ɾ", "z")):
        return "n"
    return "ɴ"
