"""A user's own terms, which every engine must keep to.

A glossary is a text file in UTF-8, one term a line, columns apart by tabs::

    source term<TAB>target term[<TAB>source language<TAB>target language]

Lines that start with ``#`` and empty ones are skipped. Without languages a term holds for every pair. A term in
lower case is found however it is capitalized, and its translation follows: "bus stop" also stands for "Bus stop".
A term with a capital is found only as it is written: "May" is not "may". Only the form that is given is found: a
plural is a term of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmpipe.errors import InputError, LanguageError
from mmpipe.translate.languages import language_code
from mmpipe.translate.protect import Span

# Scripts that set no spaces between words: a term may begin or end anywhere.
_UNSPACED_LETTER = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Term:
    """One entry. Languages in ISO 639-1; None: any."""

    source: str
    target: str
    source_language: str | None = None
    target_language: str | None = None

    @property
    def any_case(self) -> bool:
        return self.source == self.source.lower()

    @property
    def pattern(self) -> str:
        words = r"\s+".join(re.escape(word) for word in self.source.split())
        begins = "" if re.match(_UNSPACED_LETTER, self.source) else r"(?<!\w)"
        ends = "" if re.match(_UNSPACED_LETTER, self.source[-1]) else r"(?!\w)"
        return f"{begins}(?i:{words}){ends}" if self.any_case else f"{begins}{words}{ends}"

    def rendered_for(self, found: str) -> str:
        """The target term, capitalized as the source term was found."""
        if self.any_case and len(found) > 1 and found.isupper():
            return self.target.upper()
        if self.any_case and found[:1].isupper():
            return self.target[:1].upper() + self.target[1:]
        return self.target


class Glossary:
    """Terms with the translations they must have.

    >>> glossary = Glossary([Term("bus stop", "ponto de ônibus", "en", "pt")])
    >>> glossary.spans("Wait at the Bus stop.", "en", "pt")
    [(12, 20, 'Ponto de ônibus')]
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        # The longest first: where one term holds another, the whole is meant.
        self.terms = tuple(sorted(terms, key=lambda term: -len(term.source)))
        self._finders: dict[tuple[str, str], tuple[re.Pattern[str] | None, list[Term]]] = {}

    @classmethod
    def load(cls, path: Path | str) -> Glossary:
        """Read a TSV file.

        Raises:
            InputError: it cannot be read, or a line is malformed; the message has the number of the line.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"Cannot read the glossary {path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"The glossary {path} is not UTF-8 text: save it as UTF-8") from error
        return cls(_read(text, path))

    def spans(self, text: str, source: str, target: str) -> list[Span]:
        """Where terms stand in ``text``, in order, each with the translation it must have."""
        pattern, terms = self._finder(source, target)
        if pattern is None:
            return []
        return [
            (match.start(), match.end(), terms[(match.lastindex or 0) - 1].rendered_for(match[0]))
            for match in pattern.finditer(text)
        ]

    def _finder(self, source: str, target: str) -> tuple[re.Pattern[str] | None, list[Term]]:
        if (source, target) not in self._finders:
            terms = [
                term
                for term in self.terms
                if term.source_language in (None, source) and term.target_language in (None, target)
            ]
            pattern = re.compile("|".join(f"({term.pattern})" for term in terms)) if terms else None
            self._finders[source, target] = pattern, terms
        return self._finders[source, target]


def _read(text: str, path: Path | str) -> Iterator[Term]:
    seen: dict[tuple[str, str | None, str | None], tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue

        def malformed(why: str, number: int = number) -> InputError:
            return InputError(f"{path}, line {number}: {why}")

        columns = [column.strip() for column in line.split("\t")]
        if len(columns) not in (2, 4):
            raise malformed(
                f"{len(columns)} column(s). A line has a source term, a tab and a target term, and may have two more "
                "columns for the source and the target language"
            )
        source, target = columns[:2]
        if not source or not target:
            raise malformed(f"the {'source' if not source else 'target'} term is empty")
        try:
            languages = [language_code(column) if column else None for column in columns[2:]] or [None, None]
        except LanguageError as error:
            raise malformed(str(error)) from error
        key = source, languages[0], languages[1]
        earlier = seen.setdefault(key, (number, target))
        if earlier[1] != target:
            raise malformed(f"{source!r} is {target!r} here and {earlier[1]!r} in line {earlier[0]}: keep one of them")
        yield Term(source, target, languages[0], languages[1])
