"""Text in pictures: which questions ask for it, and how it is translated in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import hypot

from mmpipe.pipelines.engines import Engines, Lazy
from mmpipe.pipelines.multimodal_qa.image_encoding import ImageSource, load_in_full
from mmpipe.translate import detect_language
from mmpipe.types import Image, TextLine
from mmpipe.vision.overlay import draw_texts

#: What asks for the text in a picture, in English. The language model could only say that it cannot tell.
_ASKS_FOR_TEXT = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bwhat (?:do|does|did)\b.*\b(?:say|read)\b",
        r"\b(?:what|which)\b.*\b(?:is|are|was|were)\b.*\b(?:written|printed|spelled|inscribed)\b",
        r"\b(?:what|which)(?:'s| is| are)?(?: the)? (?:text|words?|letters|writing|inscription|lettering)\b",
        r"^\W*(?:(?:please|now|can|could|would|you|kindly)\W+)*(?:read|transcribe|spell out)\b",
    )
)


def asks_for_text(question: str) -> bool:
    """Whether ``question``, in English, asks what is written in a picture."""
    return any(pattern.search(question) for pattern in _ASKS_FOR_TEXT)


class PictureReader:
    """Reads text in pictures, and translates it there. A context manager.

    ``engines``: whose reader and translators; None: the built-in ones, loaded for this.
    """

    def __init__(self, engines: Engines | None = None) -> None:
        self._made_here = ExitStack()
        self.engines = engines or self._made_here.enter_context(Engines(interactive=True))
        self._translator = Lazy("Translation", self.engines.text_translator)

    @property
    def available(self) -> bool:
        """Whether there is a reader."""
        return self.engines.can_read

    def read(self, picture: ImageSource) -> tuple[TextLine, ...]:
        """The text in ``picture``, line by line in reading order.

        Raises:
            ImageError: it is no picture that can be read.
            MissingDependencyError: the extra ``ocr`` is not installed.
        """
        loaded = load_in_full(picture)
        return self.engines.batchers(self.engines.reader, [loaded])[0]

    def translate(
        self,
        picture: ImageSource,
        to: str,
        source: str | None = None,
        *,
        lines: Sequence[TextLine] | None = None,
    ) -> Image:
        """``picture`` with the text in it in another language. Without text, it is as it was.

        Args:
            picture: where the text stands.
            to: language of the translation (ISO 639-1).
            source: language of the text; None: find it out.
            lines: what :meth:`read` found in the picture as :func:`load_in_full` gives it; None: read it.

        Raises:
            ImageError: it is no picture that can be read.
            LanguageError: the language of the text cannot be told, or nothing translates it.
            InputError: no font at hand has the letters.
            MissingDependencyError: the extra ``ocr`` is not installed.
        """
        loaded = load_in_full(picture)
        lines = self.read(loaded) if lines is None else lines
        if not lines:
            return loaded
        source = source or detect_language("\n".join(line.text for line in lines))

        def translate(texts: Sequence[str]) -> list[str]:
            return [found.text for found in self._translator().translate_many(texts, source, to)]

        return draw_texts(loaded, lines, _translated(lines, translate))

    def close(self) -> None:
        """Free the models that were loaded here."""
        self._made_here.close()

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _translated(lines: Sequence[TextLine], translate: Callable[[Sequence[str]], Sequence[str]]) -> list[str]:
    """What to write in place of each of ``lines``: sentences that run over several are translated as a whole.

    ``translate``: texts -> as many translations.
    """
    sentences = _sentences(lines)
    translated = translate([_joined([line.text for line in sentence]) for sentence in sentences])
    return [
        part
        for sentence, text in zip(sentences, translated, strict=True)
        for part in _spread(text, [_length_px(line) for line in sentence])
    ]


def _sentences(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Neighbouring lines together if the second goes on in small letters, or the first ends in a hyphen or a comma."""
    groups: list[list[TextLine]] = []
    for line in lines:
        if groups and (line.text[:1].islower() or groups[-1][-1].text.rstrip().endswith(("-", ","))):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _joined(texts: Sequence[str]) -> str:
    """One text of several lines, with words that were hyphenated made whole."""
    return re.sub(r"(?<=\w)- (?=[a-z])", "", " ".join(text.strip() for text in texts))


def _spread(text: str, lengths_px: Sequence[float]) -> list[str]:
    """The words of ``text`` on as many lines, each with its share of the letters."""
    words = text.split()
    lines: list[list[str]] = [[] for _ in lengths_px]
    total_px, total, at, told = sum(lengths_px), sum(map(len, words)), 0, 0
    ends = [total * sum(lengths_px[: n + 1]) / total_px for n in range(len(lengths_px))]
    for word in words:
        while at < len(ends) - 1 and told + len(word) / 2 > ends[at]:
            at += 1
        lines[at].append(word)
        told += len(word)
    return [" ".join(line) for line in lines]


def _length_px(line: TextLine) -> float:
    (x0, y0), (x1, y1), *_ = line.corners
    return max(hypot(x1 - x0, y1 - y0), 1.0)
