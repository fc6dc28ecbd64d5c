"""Translation of texts: routing, sentences, protection and glossary around the engines, which only know sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from threading import Lock

from mmpipe.errors import InputError, LanguageError
from mmpipe.stage import Translator
from mmpipe.translate.detect import detect_language
from mmpipe.translate.engines import installed_engines
from mmpipe.translate.glossary import Glossary
from mmpipe.translate.graph import LanguageGraph, Route
from mmpipe.translate.languages import language_code
from mmpipe.translate.layout import MAX_BLOCK_CHARS, Block, blocks, joint
from mmpipe.translate.sentences import Runner, SentenceTranslator
from mmpipe.types import Sentence, Tier, Translation

AUTO = "auto"


class TextTranslator:
    """Translates texts between all the languages that ``engines`` connect. May be used from several threads.

    >>> with TextTranslator() as translator:
    ...     print(translator.translate("Good morning!", "en", "pt").text)
    Bom dia!

    ``engines``: those to use, the preferred first; None: :func:`~mmpipe.translate.engines.installed_engines`.
    ``runner``: how engines are called, so that a batcher can stand in between; None: directly.
    """

    def __init__(
        self,
        engines: Sequence[Translator] | None = None,
        glossary: Glossary | None = None,
        runner: Runner | None = None,
    ) -> None:
        self._owns_engines = engines is None
        self._engines = list(installed_engines() if engines is None else engines)
        self.graph = LanguageGraph(self._engines)
        self._lock = Lock()
        self._sentences = SentenceTranslator(glossary or Glossary(()), runner or self._directly)

    def translate(self, text: str, source: str | None, target: str) -> Translation:
        """``text`` from ``source`` (None or "auto": find it out) into ``target``, its layout kept.

        Raises:
            InputError: the text is not valid Unicode.
            LanguageError: a language is unknown or cannot be told, or nothing translates this pair.
            StageError: an engine failed.
        """
        return self.translate_many([text], source, target)[0]

    def translate_many(self, texts: Sequence[str], source: str | None, target: str) -> list[Translation]:
        """Each of ``texts``, all their sentences together. ``source`` as None is found out for each text.

        Raises: as :meth:`translate`.
        """
        target = language_code(target)
        sources = [_source(_checked(text), source) for text in texts]
        results: dict[int, Translation] = {}
        for language in dict.fromkeys(sources):
            indices = [index for index, found in enumerate(sources) if found == language]
            parted = [list(blocks(texts[index].splitlines(keepends=True))) for index in indices]
            results |= zip(indices, self._translate_blocks(parted, language, target), strict=True)
        return [results[index] for index in range(len(texts))]

    def stream(self, lines: Iterable[str], source: str | None, target: str) -> Iterator[Translation]:
        """A text of any length, given by its lines (with their line breaks), paragraph by paragraph.

        Each comes out as soon as it is complete; joined, the ``text`` of all is the translation. ``source`` as None
        is found out from the first paragraphs and then holds for all.

        Raises: as :meth:`translate`.
        """
        target = language_code(target)
        paragraphs = blocks(map(_checked, lines))
        first: list[Block] = []
        if source in (None, AUTO):
            first, source = _with_language(paragraphs)
        source = language_code(source)
        for block in chain(first, paragraphs):
            yield self._translate_blocks([[block]], source, target)[0]

    def languages(self) -> list[Route]:
        """The best route of every pair that can be translated."""
        return self.graph.languages()

    def tier(self, source: str, target: str) -> Tier | None:
        """How good the best route is; None if there is none."""
        try:
            return self.graph.best(source, target).tier
        except LanguageError:
            return None

    def close(self) -> None:
        """Close the engines, unless the caller brought them."""
        if self._owns_engines:
            for engine in self._engines:
                engine.close()

    def __enter__(self) -> TextTranslator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _translate_blocks(self, texts: Sequence[Sequence[Block]], source: str, target: str) -> list[Translation]:
        """Each of ``texts`` taken apart into blocks, all their sentences at once."""
        originals = ["".join(block.source for block in text) for text in texts]
        if source == target:
            return [Translation(text, text, source, target, (), Tier.GOOD) for text in originals]
        route = self.graph.best(source, target)
        pieces = [[block.sentences(source) for block in text] for text in texts]
        flat = [piece.strip() for text in pieces for block in text for piece in block]
        translated = iter(self._sentences.translate(flat, route))
        return [
            Translation(
                original,
                "".join(
                    block.rebuilt(_joined(sentences, translated, target))
                    for block, sentences in zip(text, blocks_of_text, strict=True)
                ),
                source,
                target,
                route.steps,
                route.tier,
            )
            for original, text, blocks_of_text in zip(originals, texts, pieces, strict=True)
        ]

    def _directly(self, engine: Translator, sentences: Sequence[Sentence]) -> list[str]:
        with self._lock:  # an engine is called from one thread at a time
            return engine.run(sentences)


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"The text is not valid Unicode at {text[max(0, error.start - 20) : error.start]!r}: save it as UTF-8"
        ) from error
    return text


def _source(text: str, given: str | None) -> str:
    return detect_language(text) if given in (None, AUTO) else language_code(given)


def _joined(pieces: Sequence[str], translated: Iterator[str], target: str) -> str:
    """The next translations, one for each of ``pieces``, with what stood between those between them."""
    text = ""
    for number, piece in enumerate(pieces, start=1):
        text += next(translated)
        if number < len(pieces):
            text += joint(piece[len(piece.rstrip()) :], target)
    return text


def _with_language(paragraphs: Iterator[Block]) -> tuple[list[Block], str]:
    """As many of ``paragraphs`` as it takes to tell their language, and the language."""
    taken: list[Block] = []
    for block in paragraphs:
        taken.append(block)
        text = "".join(earlier.source for earlier in taken)
        with suppress(LanguageError):
            return taken, detect_language(text)
        if len(text) > MAX_BLOCK_CHARS:
            break
    return taken, detect_language("".join(block.source for block in taken))
