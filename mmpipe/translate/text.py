"""Text into sentences, and sentences that are too long into clauses. Nothing is lost: the pieces make up the text.

Sentences are found by ``sentencex`` (Wikimedia; about 300 languages, kept up, and it never alters the text), with
repairs for what it was seen to get wrong. Tried beside it: pysbd, which has had no release since 2021, knows 23
languages and no Portuguese.
"""

from __future__ import annotations

import re

import sentencex

from mmpipe.translate.protect import protected_spans
from mmpipe.types import UNSPACED

# Abbreviations after which sentencex ends a sentence, in lower case without the full stop.
_ABBREVIATIONS = {
    "ca": "av dr dra sr sra sta",
    "en": "approx dr est mr mrs ms",
    "es": "av avda dr dra sr sra srta ud uds",
    "fr": "av bd m mm mme mmes mlle st ste",
    "gl": "av dr dra sr sra",
    "it": "avv dott ing prof sig sigg",
    "pt": "av dr dra exa exmo prof profa sr sra srta",
}
_LAST_WORD = re.compile(r"(\w+)\.\s*$")
_INITIAL = re.compile(r"(?:^|\s)[^\W\d_]\.\s+$")


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of ``text``, in order, without the blanks between them.

    ``language``: ISO 639-1; an unknown one is split by the marks that all scripts share.
    """
    return [sentence.strip() for sentence in sentence_pieces(text, language) if sentence.strip()]


def sentence_pieces(text: str, language: str) -> list[str]:
    """The sentences of ``text``, each with the blanks behind it: joined, they are ``text`` again."""
    pieces: list[str] = []
    inside = {at for start, end, _ in protected_spans(text) for at in range(start + 1, end)}
    at = 0  # where the next piece of sentencex starts
    for found in sentencex.segment(language, text):
        if pieces and (at in inside or _goes_on(pieces[-1], found, language)):
            pieces[-1] += found
        else:
            pieces.append(found)
        at += len(found)
    return pieces


def _goes_on(before: str, after: str, language: str) -> bool:
    """Whether the sentence ``before`` was cut too early and goes on with ``after``."""
    if not after.strip():
        return True
    last = _LAST_WORD.search(before)
    if last is None or before.rstrip().endswith(".."):
        return False
    word = last[1].lower()
    if word in _ABBREVIATIONS.get(language, "").split():
        return True
    if language not in UNSPACED and _INITIAL.search(before):  # J. Silva
        return True
    following = after.lstrip()[:1]  # an abbreviation again: "p. ex., isto", "fig. 3", "approx. 10"
    return (len(word) <= 3 and following.islower()) or (len(word) <= 4 and word.isalpha() and following.isdigit())


# Where a sentence can be parted, the best places first; each part ends with what is matched.
_PLACES = tuple(
    re.compile(pattern)
    for pattern in (
        r"[.;:!?…][\"'”’»)\]]*\s+|[；：。！？]",
        r"\s[–—-]\s+|,[\"'”’»)\]]*\s+|[，、]",
        r"\s+(?=(?:and|or|but|because|which|that|when|e|ou|mas|porque|que|quando|y|o|pero|cuando|et|mais|parce|qui|quand"
        r"|ma|perché|che|und|oder|aber|weil|dass|wenn|i|però|perquè|quan)\s)",
        r"\s+",
        r"",  # anywhere
    )
)


def clauses(sentence: str, max_chars: int) -> list[str]:
    """``sentence`` in parts of at most ``max_chars`` characters, cut at the best mark there is near their middle.

    Joined, the parts are ``sentence`` again. An item that is protected, such as an address, is not cut.
    """
    if len(sentence.rstrip()) <= max_chars:
        return [sentence]
    inside = {at for start, end, _ in protected_spans(sentence) for at in range(start + 1, end)}
    middle = len(sentence) / 2
    for place in _PLACES:
        cuts = [match.end() for match in place.finditer(sentence)]
        # A sliver at either end is no clause: it would be translated without its context.
        sensible = [at for at in cuts if at not in inside and min(at, len(sentence) - at) > min(20, max_chars // 4)]
        if sensible:
            cut = min(sensible, key=lambda at: abs(at - middle))
            return clauses(sentence[:cut], max_chars) + clauses(sentence[cut:], max_chars)
    return [sentence]
