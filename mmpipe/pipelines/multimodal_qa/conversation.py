"""Questions that build upon one another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from mmpipe.errors import InputError
from mmpipe.generation.chat import Message
from mmpipe.pipelines.multimodal_qa.answering import Said
from mmpipe.pipelines.multimodal_qa.evidence import Evidence
from mmpipe.pipelines.multimodal_qa.image_encoding import ImageBytes, ImageSource
from mmpipe.pipelines.multimodal_qa.question import AskOptions, Question, QuestionText, Understood
from mmpipe.pipelines.multimodal_qa.stream import AnswerStream
from mmpipe.types import Answer

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa.pipeline import MultimodalQA


class Conversation:
    """Remembers what was shown (files as they were then, in memory), asked and said. One question at a time.

    The engine keeps what it computed for the turns before, so that a further question costs only its own words. A
    question that fails, or is cancelled, is forgotten.
    """

    def __init__(self, qa: MultimodalQA) -> None:
        self._qa = qa
        self._messages: tuple[Message, ...] = ()
        self._answered: tuple[Question, Said] | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        """So far, in English; what was read in pictures as it stood there."""
        return self._messages

    def ask(
        self,
        question: QuestionText,
        images: ImageSource | Sequence[ImageSource] = (),
        **options: Unpack[AskOptions],
    ) -> Answer:
        """The answer to ``question``, about ``images`` and those before.

        Raises: as :meth:`MultimodalQA.ask <mmpipe.MultimodalQA.ask>`.
        """
        return self.stream(question, images, **options).result()

    def stream(
        self,
        question: QuestionText,
        images: ImageSource | Sequence[ImageSource] = (),
        **options: Unpack[AskOptions],
    ) -> AnswerStream:
        """:meth:`ask`, the answer as it is written.

        Raises:
            ImageError, MediaError: a file is not there. Files are read now; they may change or go afterwards.
        """
        several = images if isinstance(images, list | tuple) else (images,)
        shown = [ImageBytes.of(image) if isinstance(image, str | Path) else image for image in several]
        whole = Question.about(question, shown, **options).after(self._messages)
        return self._qa.submit(whole, then=partial(self._remember, whole))

    def explain(self) -> Evidence:
        """What the last answer rests on, as it was given, in the light of all that was said before it. Takes seconds a
        picture.

        Raises: as :meth:`MultimodalQA.explain <mmpipe.MultimodalQA.explain>`; InputError: there is no answer yet, or
        it was read in the picture.
        """
        if self._answered is None:
            raise InputError("There is no answer yet. Ask something about a picture first.")
        return self._qa.evidence(*self._answered)

    def _remember(self, question: Question, asked: Understood, said: Said) -> None:
        english = said.said if said.choices and not said.refused else said.text
        self._messages = (*asked.messages, Message("assistant", english))
        self._answered = question, said
