"""What is asked, and how it is understood: heard if it was spoken, and put into English, which the models speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from mmpipe.audio.media import IsolatedMedia
from mmpipe.errors import InputError, LanguageError
from mmpipe.generation.chat import Message, interleave
from mmpipe.generation.sampling import SamplingOptions
from mmpipe.pipelines.multimodal_qa.hearing import SpokenQuestionRecognizer, load_question
from mmpipe.pipelines.multimodal_qa.image_encoding import ImageSource
from mmpipe.pipelines.multimodal_qa.question_language import ENGLISH, question_language
from mmpipe.translate import NAMES, TextTranslator, language_code
from mmpipe.types import Audio

#: What is asked: a text, or a recording of it.
QuestionText = str | Path | Audio | IsolatedMedia
#: More than any language model here has room for; what is longer is not even cut into tokens.
MAX_CHARACTERS = 100_000
#: So many are compared within a few seconds.
MAX_CHOICES = 100


class AskOptions(TypedDict, total=False):
    """How to answer.

    ``choices``: the answers there are, two or more. ``schema``: answer with JSON that this JSON Schema describes.
    ``language``: of the question, ISO 639-1; without it, it is told by the question's little words. ``to``: language
    of the answer, where it is not the question's. ``speak``: speak the answer, too; ``voice``: with this voice of its
    language. ``max_new_tokens``: the length of the answer, at most. ``sampling``: how tokens are chosen.
    """

    choices: Sequence[str]
    schema: Mapping[str, Any]
    language: str
    to: str
    speak: bool
    voice: str
    max_new_tokens: int
    sampling: SamplingOptions


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A conversation whose last message is to be answered. What messages hold are texts (``str``), recordings
    (:class:`~mmpipe.Audio`), and pictures or where they come from. The rest: see :class:`AskOptions`.

    Raises:
        InputError: options that contradict one another.
    """

    messages: Sequence[Message]
    choices: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None
    language: str | None = None
    to: str | None = None
    speak: bool = False
    voice: str | None = None
    max_new_tokens: int = 128
    sampling: SamplingOptions = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        if self.choices and self.schema is not None:
            raise InputError("A question has either choices or a JSON schema, not both.")
        if isinstance(self.choices, str) or not all(isinstance(one, str) and one.strip() for one in self.choices):
            raise InputError("Choices are given as a list of texts, none of them empty.")
        if len(self.choices) == 1 or len(set(self.choices)) < len(self.choices):
            raise InputError("Give at least two choices, and none of them twice.")
        if len(self.choices) > MAX_CHOICES:
            raise InputError(f"There are {len(self.choices)} choices; up to {MAX_CHOICES} can be compared.")

    @classmethod
    def about(
        cls, text: QuestionText, images: ImageSource | Sequence[ImageSource], **options: Unpack[AskOptions]
    ) -> Self:
        """``text``, or a recording of what is asked, about ``images``, which come first unless <image> stands in it.

        Raises:
            InputError: <image> stands in the text, but not once for each picture.
            MediaError: the recording cannot be read.
        """
        several = images if isinstance(images, list | tuple) else (images,)
        pictures = tuple(Path(image) if isinstance(image, str) else image for image in several)
        if isinstance(text, str):
            content = interleave(text, pictures)
        else:
            content = (*pictures, text if isinstance(text, Audio) else load_question(text))
        return cls([Message("user", content)], **options)

    def after(self, messages: Sequence[Message]) -> Self:
        """The same question at the end of a conversation."""
        return replace(self, messages=(*messages, *self.messages))

    @property
    def form_is_free(self) -> bool:
        return not self.choices and self.schema is None


@dataclass(frozen=True, slots=True, eq=False)
class Understood:
    """``messages``: all in English, with pictures as they were given, and no sound. ``text``: the question as it was
    typed or heard, in ``language``; ``english``: the same in English."""

    messages: tuple[Message, ...]
    text: str
    language: str
    english: str

    @property
    def new_pictures(self) -> list[ImageSource]:
        """Those of the last message that has any."""
        return next(found for message in reversed(self.messages) if (found := _pictures([message])))


def understand(
    question: Question, recognizer: SpokenQuestionRecognizer, translator: Callable[[], TextTranslator]
) -> Understood:
    """What ``question`` says, in English.

    Raises:
        InputError: there is no question, or no picture.
        LanguageError: it is in a language that nothing here translates into English.
        MediaError: nothing is said where something should be.
    """
    messages, texts, language = [], [""], ENGLISH
    for message in question.messages:
        last = message is question.messages[-1]
        known = language_code(question.language) if last and question.language else None
        heard = [recognizer.hear(part, known) if isinstance(part, Audio) else (part, known) for part in message.parts]
        texts = [part for part, _ in heard if isinstance(part, str) and part.strip()]
        for text in (*texts, *question.choices):
            _check_text(text)
        spoken = next((language for _, language in heard if language), None)
        language = spoken or question_language(" ".join(texts), sure=last)
        if not last and language != ENGLISH and translator().tier(language, ENGLISH) is None:
            language = ENGLISH  # what was read from a picture, say: it stays as it is
        content = [_english(part, language, translator) if isinstance(part, str) else part for part, _ in heard]
        messages.append(replace(message, content=tuple(content)))
    if not texts:
        raise InputError("There is no question. Ask something about the picture.")
    if not _pictures(messages):
        raise InputError("There is no picture. Give one or more, and ask about them.")
    english = " ".join(part for part in messages[-1].parts if isinstance(part, str) and part.strip())
    return Understood(tuple(messages), " ".join(texts).strip(), language, english.strip())


def _pictures(messages: Sequence[Message]) -> list[ImageSource]:
    return [part for message in messages for part in message.parts if not isinstance(part, str)]


def _check_text(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"The question has {len(text)} characters; up to {MAX_CHARACTERS} are read. Ask in fewer words."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError("What is asked is not valid Unicode. Type it again, or save it as UTF-8.") from error


def _english(text: str, language: str, translator: Callable[[], TextTranslator]) -> str:
    if language == ENGLISH or not text.strip():
        return text
    if translator().tier(language, ENGLISH) is None:
        raise LanguageError(
            f"The question is in {NAMES.get(language, language)}, which nothing installed here translates into "
            "English. Ask in English, or see docs/translation.md for what can be installed."
        )
    return translator().translate(text, language, ENGLISH).text
