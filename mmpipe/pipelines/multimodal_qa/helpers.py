"""The other stages that an answer may need: each is made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from mmpipe.audio.synthesis import TextToSpeech
from mmpipe.batching import Priority
from mmpipe.pipelines.batchers import Batchers
from mmpipe.pipelines.multimodal_qa.hearing import SpokenQuestionRecognizer
from mmpipe.stage import Recognizer, Synthesizer, TextReader, Translator
from mmpipe.translate import TextTranslator
from mmpipe.types import Image, TextLine

T = TypeVar("T")


class Lazy(Generic[T]):
    """One value for all threads, made by the first that asks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._lock = make, Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    @property
    def made(self) -> Sequence[T]:
        """The value, if it was asked for."""
        return self._made


class Helpers:
    """A recognizer, a voice, translators and a reader of text, behind batchers.

    ``recognizer``: an engine or what :func:`~mmpipe.audio.recognition.load_recognizer` takes. ``translators``,
    ``synthesizers``, ``reader``: None: the built-in ones. ``batchers``: None: of their own; those of another pipeline
    with the same engines are closed by whoever made them.
    """

    def __init__(
        self,
        recognizer: Recognizer | str | Path = "whisper-base",
        translators: Sequence[Translator] | None = None,
        synthesizers: Sequence[Synthesizer] | None = None,
        reader: TextReader | None = None,
        batchers: Batchers | None = None,
    ) -> None:
        self._owns_batchers = batchers is None
        self._batchers = batchers or Batchers(Priority.INTERACTIVE)
        self.ear = Lazy(lambda: SpokenQuestionRecognizer(recognizer, self._batchers))
        self.translator = Lazy(lambda: TextTranslator(translators, runner=self._batchers))
        self.speaker = Lazy(lambda: TextToSpeech(synthesizers, runner=self._batchers))
        self._reader = Lazy(lambda: reader or _built_in_reader())
        #: whether text in pictures can be read
        self.can_read = reader is not None or find_spec("rapidocr") is not None

    def read(self, pictures: Sequence[Image]) -> list[tuple[TextLine, ...]]:
        """The lines of text in each of ``pictures``.

        Raises:
            MissingDependencyError: the extra ``ocr`` is not installed.
        """
        return self._batchers(self._reader(), pictures)

    def close(self) -> None:
        if self._owns_batchers:
            self._batchers.close()
        for translator in self.translator.made:
            translator.close()
        for speaker in self.speaker.made:
            speaker.close()


def _built_in_reader() -> TextReader:
    from mmpipe.vision.ocr import RapidOcr

    return RapidOcr()
