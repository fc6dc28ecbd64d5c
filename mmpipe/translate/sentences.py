"""Sentences through a route: with their protected items, the user's terms and their capitals kept.

Each sentence is tried in up to three ways, from the one that reads best to the one that cannot fail:

1. addresses, emoji, code and glossary terms as tokens; numbers in plain sight, for the grammar around them
2. numbers as tokens too, if one did not come back as it was
3. piece by piece around all of them, if a token did not come back exactly once
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mmpipe.errors import StageError
from mmpipe.stage import Translator
from mmpipe.translate.glossary import Glossary
from mmpipe.translate.graph import Route, Step
from mmpipe.translate.protect import Masked, Span, apart, mask, number_spans, protected_spans, without_overlaps
from mmpipe.translate.text import clauses
from mmpipe.types import UNSPACED, Sentence

#: How sentences get to an engine: ``runner(engine, sentences)`` gives their translations, as ``engine.run`` does.
Runner = Callable[[Translator, Sequence[Sentence]], list[str]]

#: Longer sentences are parted at a clause. Bergamot's models lose the thread after about 450 characters, and language
#: models have a window to fit into.
MAX_CHARS = 300

_LETTER = re.compile(r"[^\W\d_]")
_CAPITAL_NOUNS = frozenset({"de", "lb"})  # written with a capital wherever they stand


class SentenceTranslator:
    """Takes sentences along routes, all those of a call through each step together."""

    def __init__(self, glossary: Glossary, runner: Runner) -> None:
        self._glossary = glossary
        self._runner = runner

    def translate(self, sentences: Sequence[str], route: Route) -> list[str]:
        """``sentences`` without blanks around them, translated, in the same order.

        Raises:
            StageError: an engine failed, or gave nothing for a sentence.
        """
        results: dict[int, str] = {}
        left = [index for index, sentence in enumerate(sentences) if sentence]
        for with_numbers in (False, True):
            masked = {i: mask(sentences[i], self._spans(sentences[i], route, with_numbers)) for i in left}
            results |= {
                i: "".join(apart(sentences[i], self._spans(sentences[i], route, with_numbers)))
                for i, m in masked.items()
                if not m.has_words
            }
            results |= self._attempt({i: m for i, m in masked.items() if m.has_words}, route)
            left = [i for i in left if i not in results]
        results |= zip(left, self._piecewise([sentences[i] for i in left], route), strict=True)
        return [results.get(index, "") for index in range(len(sentences))]

    def _spans(self, sentence: str, route: Route, with_numbers: bool) -> list[Span]:
        terms = self._glossary.spans(sentence, route.source, route.target)
        spans = without_overlaps(protected_spans(sentence), terms)
        return without_overlaps(spans, number_spans(sentence)) if with_numbers else spans

    def _attempt(self, masked: dict[int, Masked], route: Route) -> dict[int, str]:
        """The translations that came out whole."""
        shouted = {index for index, m in masked.items() if m.is_shouted}
        texts = [m.lowered() if index in shouted else m.text for index, m in masked.items()]
        found: dict[int, str] = {}
        for index, output in zip(masked, self._along(route, texts), strict=True):
            restored = masked[index].restore(output.upper() if index in shouted else output)
            if restored and restored.strip() and masked[index].kept_numbers(output):
                found[index] = restored
        return found

    def _piecewise(self, sentences: Sequence[str], route: Route) -> list[str]:
        """Translations of what stands between the protected items, which keep their places."""
        pieces = [apart(sentence, self._spans(sentence, route, True)) for sentence in sentences]
        texts = [piece.strip() for row in pieces for piece in row[::2] if _LETTER.search(piece)]
        outputs = iter(zip(texts, self._along(route, texts), strict=True))
        results = []
        for row in pieces:
            for at in range(0, len(row), 2):
                if _LETTER.search(row[at]):
                    text, output = next(outputs)
                    if not output.strip():
                        raise StageError(f"{', '.join(route.steps)} gave nothing for {text!r}")
                    row[at] = row[at].replace(text, _in_place(output, text, route.target, first=at == 0))
            results.append("".join(row))
        return results

    def _along(self, route: Route, texts: Sequence[str]) -> list[str]:
        outputs = list(texts)
        for step in route.path:
            outputs = self._through(step, outputs)
        return outputs

    def _through(self, step: Step, texts: Sequence[str]) -> list[str]:
        """``texts`` through one engine, the long ones clause by clause."""
        assert step.engine is not None, "text does not take steps that begin with speech"
        parted = [clauses(text, MAX_CHARS) for text in texts]
        sentences = [
            Sentence(part.strip(), step.source, step.target) for parts in parted for part in parts if part.strip()
        ]
        outputs = self._runner(step.engine, sentences) if sentences else []
        if len(outputs) != len(sentences):
            raise StageError(f"{step} gave {len(outputs)} translations for {len(sentences)} sentences")
        rest = iter(outputs)
        gap = "" if step.target in UNSPACED else " "
        results = []
        for parts in parted:
            whole = [part.strip() for part in parts if part.strip()]
            if len(whole) == 1:
                results.append(next(rest))
            else:
                results.append(
                    gap.join(_in_place(next(rest), part, step.target, first=n == 0) for n, part in enumerate(whole))
                )
        return results


def _in_place(translated: str, source: str, target: str, *, first: bool) -> str:
    """``translated`` as a part of a sentence: without the capital and the full stop that a whole one has."""
    translated = translated.strip()
    if not source.endswith((".", "…", "。")):
        translated = re.sub(r"(?<!\.)[.。]$", "", translated)
    initial = translated[:1]
    only_initial = initial.isupper() and not translated[1:2].isupper() and translated.split()[0] != "I"
    if not first and source[:1].islower() and only_initial and target not in _CAPITAL_NOUNS:
        translated = initial.lower() + translated[1:]
    return translated
