"""Text to the phonemes Kokoro reads: espeak-ng's IPA rewritten in the alphabet of misaki, a symbol a sound.

Kokoro was trained on the output of misaki (https://github.com/hexgrad/misaki, Apache-2.0; ``espeak.EspeakG2P``,
and ``espeak.EspeakFallback`` for English), so its conventions are followed. Where mmpipe leaves them, a comment says
what was heard. Chinese and Japanese have modules of their own.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from mmpipe.audio.synthesis.chinese import ChineseG2P
from mmpipe.audio.synthesis.japanese import JapaneseG2P
from mmpipe.audio.synthesis.phonemes import phonemes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TIE = "^"
_NASAL, _SYLLABIC = "\u0303", "\u0329"

#: espeak-ng voices by the first letter of a Kokoro voice's name, "a" to "z" without "j" and "z" (Japanese, Chinese)
ESPEAK_VOICES = {"a": "en-us", "b": "en-gb-x-rp", "e": "es", "f": "fr", "h": "hi", "i": "it", "p": "pt-br"}

_COMMON = (
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("e^ɪ", "A"),
    ("t^ʃ", "ʧ"),
    ("ɔ^ɪ", "Y"),
)
_OTHERS = (*_COMMON, ("d^z", "ʣ"), ("o^ʊ", "O"), ("ə^ʊ", "Q"), ("s^s", "S"), ("t^s", "ʦ"), (_TIE, ""), ("-", ""))
# Longer sounds before their parts.
_ENGLISH = (
    *_COMMON,
    ("ʔˌn" + _SYLLABIC, "ʔn"),
    ("ʔn" + _SYLLABIC, "ʔn"),
    ("ə^l", "ᵊl"),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("ʲ", ""),
    ("ɚ", "əɹ"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    (_NASAL, ""),
)
_AMERICAN = (("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""))
_BRITISH = (("e^ə", "ɛː"), ("iə", "ɪə"), ("ə^ʊ", "Q"))
_ENGLISH_LAST = (("e", "A"), ("o", "ɔ"), ("ɾ", "T"), ("ʔ", "t"), (_TIE, ""))
_SYLLABIC_CONSONANT = re.compile(r"(\S)" + _SYLLABIC)

# Portuguese pronouns hang on the verb by a hyphen. espeak-ng reads verb and pronoun as one word, which moves the
# stress and runs the vowels together ("disse-lhe"); as two words both are heard.
_HYPHEN = re.compile(r"(?<=\w)-(?=\w)")
# espeak-ng leaves "é" and "há" without stress, and Kokoro then melts them into the vowel before ("você é", "não há").
# They are stressed; so are these spellings.
_STRESSED = (
    (re.compile(r"\bé\b", re.IGNORECASE), "éh"),
    (re.compile(r"\bhá\b", re.IGNORECASE), "ah"),
)
# Kokoro swallows ʎ before the close vowel of "lhe": "dar-lhe uma ideia" was heard as "dar uma ideia".
_LHE = re.compile(r"ʎ([ˈˌ]?)[yi]")
# misaki writes au, and the al that sounds like it, as the diphthong of English "how". As two sounds, as espeak-ng
# itself writes ou and eu, "audível" and "automóvel" are heard better.
_AU = "aw"
# Spellings that no Portuguese word has: names and loans, which translations are full of. Read by the rules of
# Portuguese they cannot be understood (John: ʒɪoŋ), so they are read as English.
_FOREIGN = re.compile(
    r"[kwy]|sh|th|ck|oo|gh|ph|[hj][bcdfghjklmnpqrstvwxz]|(?:[bcdfgjkptv]|tz|ll|rd|nd|ng|rk|ss|nn|rt|st|ld)s?$",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
# What stands for a foreign word while espeak-ng reads the sentence around it, and what espeak-ng makes of it.
_STAND_IN = "zuzuzu"
_STAND_IN_SOUNDS = re.compile(r"z[ˈˌ]?uz[ˈˌ]?uz[ˈˌ]?[uʊw]")


def phonemiser(accent: str) -> Callable[[str], str]:
    """Text to phonemes for the Kokoro voices whose names begin with ``accent``.

    Raises:
        MissingDependencyError: the extra ``zh``, ``ja`` or ``espeak`` is needed and missing.
    """
    if accent == "j":
        return JapaneseG2P()
    if accent == "z":
        return ChineseG2P(other=partial(_english, "a"))
    if accent in "ab":
        return partial(_english, accent)
    if accent == "p":
        return _portuguese
    return partial(_european, ESPEAK_VOICES[accent])


def _english(accent: str, text: str) -> str:
    sounds = _rewrite(phonemes(text, ESPEAK_VOICES[accent], _TIE), _ENGLISH)
    sounds = _SYLLABIC_CONSONANT.sub(r"ᵊ\1", sounds)
    sounds = _rewrite(sounds, _AMERICAN if accent == "a" else _BRITISH)
    return _rewrite(sounds, _ENGLISH_LAST)


def _portuguese(text: str) -> str:
    text = _HYPHEN.sub(" ", text)
    for pattern, spelling in _STRESSED:
        text = pattern.sub(spelling, text)
    # Foreign words are read apart, the rest as one sentence: a lone "à" or "o" would be spelled as a letter.
    foreign = [word for word in _WORDS.findall(text) if _is_foreign(word)]
    sounds = _portuguese_sounds(_WORDS.sub(lambda word: _STAND_IN if _is_foreign(word[0]) else word[0], text))
    if len(_STAND_IN_SOUNDS.findall(sounds)) != len(foreign):
        return _portuguese_sounds(text)
    read = iter([_english("a", word) for word in foreign])
    return _STAND_IN_SOUNDS.sub(lambda _: next(read), sounds)


def _portuguese_sounds(text: str) -> str:
    return _LHE.sub(r"lj\1i", _european(ESPEAK_VOICES["p"], text)).replace("W", _AU)


def _is_foreign(word: str) -> bool:
    return len(word) > 1 and bool(_FOREIGN.search(word))


def _european(voice: str, text: str) -> str:
    return _rewrite(phonemes(text.replace("«", "“").replace("»", "”"), voice, _TIE), _OTHERS)


def _rewrite(sounds: str, rules: Iterable[tuple[str, str]]) -> str:
    for old, new in rules:
        sounds = sounds.replace(old, new)
    return sounds
