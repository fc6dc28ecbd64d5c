"""The layout of a text: what stands around its sentences and is no language, such as indents and bullets.

A text is taken apart into blocks, one for each line, or one for several lines where a sentence runs on over a line
break, as in e-mails and subtitles. Such a sentence is translated whole and set on as many lines again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mmpipe.translate.text import sentence_pieces
from mmpipe.types import UNSPACED

MAX_BLOCK_CHARS = 4000  # a block ends after this many, so that memory is bounded whatever comes

_LINE = re.compile(
    r"(?P<before>\s*(?:(?:[-*+•‣◦▪–—>|]+|#{1,6}|\(?\d{1,3}[.)]|\(?[a-z]\)|\[[ xX]\])[ \t]+)*)"
    r"(?P<body>.*?)(?P<after>\s*)",
    re.DOTALL,
)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ENDS = re.compile(r"[.!?…:;。！？؟।][\"'”’»)\]*_]*$")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: ``before`` and ``after`` are kept as they are, ``after`` with the line break."""

    before: str
    body: str
    after: str


@dataclass(frozen=True, slots=True)
class Block:
    """Lines whose sentences are translated together; none of them if ``verbatim``."""

    lines: tuple[Line, ...]
    verbatim: bool = False

    @property
    def source(self) -> str:
        return "".join(line.before + line.body + line.after for line in self.lines)

    def sentences(self, language: str) -> list[str]:
        """The sentences, each with the blanks behind it."""
        if self.verbatim:
            return []
        return sentence_pieces(" ".join(line.body for line in self.lines), language)

    def rebuilt(self, translated: str) -> str:
        """The block with ``translated`` in place of its text."""
        if self.verbatim:
            return self.source
        bodies = [translated] if len(self.lines) == 1 else _on_lines(translated, [len(ln.body) for ln in self.lines])
        return "".join(line.before + body + line.after for line, body in zip(self.lines, bodies, strict=True))


def blocks(lines: Iterable[str]) -> Iterator[Block]:
    """The blocks of a text given by its lines, each as soon as it is known to be complete.

    ``lines`` keep their line breaks, as those of an open file do.
    """
    held: list[Line] = []
    in_code = False
    for text in lines:
        match = _LINE.fullmatch(text)
        assert match is not None, "the pattern takes any text"
        line = Line(match["before"], match["body"], match["after"])
        fence = bool(_FENCE.match(text))
        runs_on = held and not (fence or in_code) and _runs_on(held, line)
        if held and not runs_on:
            yield Block(tuple(held))
            held = []
        if fence or in_code or not _LETTER.search(line.body):
            yield Block((line,), verbatim=True)
            in_code ^= fence
        else:
            held.append(line)
            if _ENDS.search(line.body):  # nothing can follow: do not keep a reader waiting for the next line
                yield Block(tuple(held))
                held = []
    if held:
        yield Block(tuple(held))


def _runs_on(held: Sequence[Line], line: Line) -> bool:
    """Whether ``line`` goes on with the sentence that the lines ``held`` began."""
    return (
        line.body[:1].islower()
        and line.before.strip() == ""
        and "\n" not in line.before
        and sum(len(earlier.body) for earlier in held) < MAX_BLOCK_CHARS
    )


def _on_lines(text: str, lengths: Sequence[int]) -> list[str]:
    """``text`` on as many lines as there are ``lengths``, in about their proportions, cut between words."""
    lines: list[str] = []
    rest = text
    for index in range(len(lengths) - 1):
        wanted = len(rest) * lengths[index] / sum(lengths[index:])
        cuts = [match.start() for match in re.finditer(r"\s+", rest)] or [round(wanted)]
        cut = min(cuts, key=lambda at: abs(at - wanted))
        lines.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return [*lines, rest]


def joint(separator: str, target: str) -> str:
    """What to set between two sentences of ``target`` that were apart by ``separator`` in the source."""
    if separator in ("", " "):
        return "" if target in UNSPACED else " "
    return separator
