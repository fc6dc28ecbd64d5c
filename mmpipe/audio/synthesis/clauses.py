"""A long text cut into pieces that a voice can speak at once, each with the pause that follows it.

Every sign of the text ends up in a piece: cuts are made at the ends of sentences, then of clauses, then at spaces,
and within a word only when the word alone is too long.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOSING = "\"'”’»)\\]」』）"
_SENTENCE = re.compile(rf"[.!?…]+[{_CLOSING}]*(?=\s|$)\s*|[。！？]+[{_CLOSING}]*\s*")
_CLAUSE = re.compile(r"[;:,—]+[\"'”’»)\]]*\s+|\s*—\s*|[，、；：]\s*")
_SPACE = re.compile(r"\s+")
#: A breath may be taken before these words, of the languages that are streamed most; elsewhere at any space.
_JOINT = re.compile(
    r"\s+(?=(?:and|or|but|that|which|who|when|where|while|because|if|to|for|with|e|ou|mas|que|quando|onde|enquanto|porque|"
    r"se|para|com|y|o|pero|cuando|donde|mientras|si|con|et|mais|qui|quand|où|pour|avec|ed|ma|che|quando|dove|per)\s)",
    re.IGNORECASE,
)

#: Seconds of silence after a piece that ends so. Read speech rests about 0.15 s at a comma and about 0.4 s at the
#: end of a sentence; a voice's own rest at the mark was trimmed away before.
PAUSES_S = {"…": 0.45, ";": 0.25, ":": 0.25, "—": 0.2, ",": 0.15, "；": 0.25, "：": 0.25, "，": 0.15, "、": 0.15}
SENTENCE_PAUSE_S = 0.35
LINE_PAUSE_S = 0.45
PARAGRAPH_PAUSE_S = 0.7

_WIDE = 4  # a Chinese or Japanese character holds as many sounds as this many letters


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of text, and the silence after it at normal speed."""

    text: str
    pause_s: float


def split_clauses(text: str, max_chars: int, first_chars: int | None = None) -> list[Clause]:
    """``text`` in pieces of at most ``max_chars`` characters (Chinese and Japanese ones count as four), in order.

    Whole sentences stay whole if they fit, each a piece of its own. A line break ends a sentence whatever stands
    before it. ``first_chars``: the first piece is to be about this short, so that it is there sooner.
    """
    clauses: list[Clause] = []
    lines = text.split("\n")
    for position, line in enumerate(lines):
        pieces = [piece for sentence in _cut(line, _SENTENCE) for piece in _fitted(sentence, max_chars, 0)]
        if not pieces:
            continue
        if first_chars and not clauses:
            pieces[:1] = _headed(pieces[0], first_chars)
        pauses = [_pause_s(piece) for piece in pieces]
        paragraph_ends = position + 1 < len(lines) and not lines[position + 1].strip()
        pauses[-1] = max(pauses[-1], PARAGRAPH_PAUSE_S if paragraph_ends else LINE_PAUSE_S)
        clauses += [Clause(piece, pause_s) for piece, pause_s in zip(pieces, pauses, strict=True)]
    return clauses


def width(text: str) -> int:
    """Length of ``text`` as ``max_chars`` counts it."""
    return sum(_WIDE if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


_FINER = (_CLAUSE, _SPACE)


def _fitted(piece: str, max_chars: int, level: int) -> Iterator[str]:
    """``piece``, or the parts it has to be cut into; parts are joined again as far as they fit."""
    if width(piece) <= max_chars:
        yield piece
        return
    if level == len(_FINER):
        yield from _by_signs(piece, max_chars)
        return
    held = ""
    for part in _cut(piece, _FINER[level]):
        joined = f"{held} {part}" if held and not _wide_end(held) else held + part
        if held and width(joined) > max_chars:
            yield from _fitted(held, max_chars, level + 1)
            held = part
        else:
            held = joined
    yield from _fitted(held, max_chars, level + 1)


def _headed(piece: str, first_chars: int) -> list[str]:
    """``piece``, its head cut off where a speaker would rest best, unless hardly more than the head would be left."""
    if width(piece) <= first_chars * 4 / 3:
        return [piece]
    for ends in (_CLAUSE, _JOINT, _SPACE):
        cuts = [
            end.end() for end in ends.finditer(piece) if first_chars / 4 <= width(piece[: end.end()]) <= first_chars
        ]
        if cuts:
            return [piece[: cuts[-1]].strip(), piece[cuts[-1] :].strip()]
    return [piece]


def _by_signs(word: str, max_chars: int) -> Iterator[str]:
    held = ""
    for sign in word:
        if held and width(held + sign) > max_chars:
            yield held
            held = ""
        held += sign
    yield held


def _cut(text: str, ends: re.Pattern[str]) -> list[str]:
    """``text`` after each match of ``ends``, which stays with what it ends; without the white space around."""
    parts, start = [], 0
    for end in ends.finditer(text):
        parts.append(text[start : end.end()])
        start = end.end()
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _wide_end(text: str) -> bool:
    return unicodedata.east_asian_width(text[-1]) in "WF"


def _pause_s(piece: str) -> float:
    last = piece.rstrip("\"'”’»)]」』） ")[-1:]
    if last in PAUSES_S:
        return PAUSES_S[last]
    return SENTENCE_PAUSE_S if last in ".!?。！？" and last else 0.0
