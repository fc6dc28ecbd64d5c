"""Questions about pictures, answered: the way of a picture from its file to the answer.

understand -> load -> encode -> project -> splice into the prompt -> generate -> judge -> translate -> speak.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Self, Unpack

from mmpipe.errors import ClosedError, InputError, LanguageError
from mmpipe.fusion.confidence import confidence as likely_right
from mmpipe.generation.chat import Message, RenderedChat
from mmpipe.pipelines.engines import Engines, Lazy
from mmpipe.pipelines.multimodal_qa.answering import Answerer, Confidence, Said
from mmpipe.pipelines.multimodal_qa.conversation import Conversation
from mmpipe.pipelines.multimodal_qa.evidence import Evidence
from mmpipe.pipelines.multimodal_qa.explaining import Scene, explain
from mmpipe.pipelines.multimodal_qa.hearing import SpokenQuestionRecognizer
from mmpipe.pipelines.multimodal_qa.image_encoding import ImageSource, load
from mmpipe.pipelines.multimodal_qa.question import (
    AskOptions,
    Question,
    QuestionText,
    Understood,
    understand,
)
from mmpipe.pipelines.multimodal_qa.question_language import ENGLISH
from mmpipe.pipelines.multimodal_qa.reading import PictureReader, asks_for_text
from mmpipe.pipelines.multimodal_qa.stream import AnswerStream
from mmpipe.translate import detect_language, language_code
from mmpipe.types import Answer, Audio, Image, TextLine

#: Questions that are prepared at the same time, so that the engine's rows stay full.
AT_ONCE = 24
#: Answers that are likelier wrong than right are not given. What that costs is in docs/questions.md.
THRESHOLD = 0.5
NO_TEXT = "I can read no text in the picture."

Then = Callable[[Understood, Said], None]


class MultimodalQA:
    """Answers questions about pictures. Share one between threads and event loops: they share batches.

    >>> with MultimodalQA() as qa:  # doctest: +SKIP
    ...     print(qa.ask("What is this?", "photo.jpg").text)

    Args:
        engines: whose model answers, whose recognizer hears spoken questions, and so on; None: the built-in ones,
            loaded for this. A model that no question needs is not loaded.
        threshold: an answer that is less likely than this to be right becomes "I cannot tell."; 0: none does; None:
            :data:`THRESHOLD`.
        confidence: how likely an answer is to be right.

    Raises:
        WeightsError, MissingDependencyError: a model cannot be had.
    """

    def __init__(
        self,
        engines: Engines | None = None,
        *,
        threshold: float | None = None,
        confidence: Confidence = likely_right,
    ) -> None:
        self._made_here = ExitStack()
        self.engines = engines or self._made_here.enter_context(Engines(interactive=True))
        self.model, self.image_encoder = self.engines.fused_model, self.engines.image_encoder
        self.engine = self.engines.generation
        self._answerer = Answerer(self.engine, confidence, THRESHOLD if threshold is None else threshold)
        self._reader = PictureReader(self.engines)
        self._recognizer = SpokenQuestionRecognizer(self.engines)
        self._translator = Lazy("Translation", self.engines.text_translator)
        self._text_to_speech = Lazy("Voice", self.engines.text_to_speech)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mmpipe-question")

    def ask(
        self, question: QuestionText, images: ImageSource | Sequence[ImageSource], **options: Unpack[AskOptions]
    ) -> Answer:
        """The answer to ``question``, a text or a recording, about ``images``. See :class:`AskOptions`.

        Raises:
            InputError: it cannot be asked so: no picture, no question, too long, options that do not fit.
            ImageError, MediaError: a picture or a recording cannot be read.
            LanguageError: there is no way between its language, or that of the answer, and English; or no voice.
            MissingDependencyError: it needs an extra that is not installed.
        """
        return self.answer(Question.about(question, images, **options))

    def stream(
        self, question: QuestionText, images: ImageSource | Sequence[ImageSource], **options: Unpack[AskOptions]
    ) -> AnswerStream:
        """:meth:`ask`, the answer as it is written. Returns at once; a coroutine may await it for the answer."""
        return self.submit(Question.about(question, images, **options))

    def chat(self, messages: Sequence[Message], **options: Unpack[AskOptions]) -> Answer:
        """The answer to the last of ``messages``. Their contents are texts, :class:`~mmpipe.Audio` and pictures.

        Raises: as :meth:`ask`.
        """
        return self.answer(Question(messages, **options))

    def conversation(self) -> Conversation:
        """A conversation that remembers what was said and shown."""
        return Conversation(self)

    def ask_many(self, questions: Iterable[Question]) -> list[Answer]:
        """The answers to ``questions``, in order; they share batches. The first error is raised, and ends the rest."""
        waiting: deque[AnswerStream] = deque()
        answers: list[Answer] = []
        try:
            for question in questions:
                if len(waiting) == 2 * AT_ONCE:
                    answers.append(waiting[0].result())
                    waiting.popleft()
                waiting.append(self.submit(question))
            while waiting:
                answers.append(waiting[0].result())
                waiting.popleft()
        finally:
            for stream in waiting:
                stream.cancel()
        return answers

    def answer(self, question: Question) -> Answer:
        """The answer to ``question``. Raises: as :meth:`ask`."""
        out = AnswerStream()
        self._work(question, out, None)
        return out.result()

    def submit(self, question: Question, *, then: Then | None = None) -> AnswerStream:
        """Have ``question`` answered by a thread of the pipeline.

        ``then`` is told what was understood and said, before the stream ends.
        """
        out = AnswerStream()

        def dropped(work: Future[None]) -> None:
            if work.cancelled() and out.start():
                out.fail(_closed_error())

        try:
            self._pool.submit(self._work, question, out, then).add_done_callback(dropped)
        except RuntimeError as error:
            raise _closed_error() from error
        return out

    def explain(
        self, question: QuestionText, images: ImageSource | Sequence[ImageSource], **options: Unpack[AskOptions]
    ) -> Evidence:
        """The answer in the model's own words, and what in the pictures it rests on. Takes seconds a picture.

        Raises: as :meth:`ask`; InputError: with choices or a schema.
        """
        return self.evidence(Question.about(question, images, **options))

    def evidence(self, question: Question, given: Said | None = None) -> Evidence:
        """:meth:`explain` for the last message of a conversation. ``given``: the answer, if it was given already.

        Raises: as :meth:`explain`; InputError: the answer was read in the picture.
        """
        if not question.form_is_free:
            raise InputError("Evidence is for answers in the model's own words: leave the choices or the schema out.")
        if given is not None and not given.token_ids:
            raise InputError("Evidence is for what the language model says; this answer was read in the picture.")
        asked, to, out = *self._understand(question), AnswerStream()
        chat = self._rendered(asked, question.max_new_tokens)
        pictures = [load(medium.item) for medium in chat.media]
        features = self.image_encoder.look(pictures)
        new = features[-len(asked.new_pictures) :]
        prompt, tokens = self.model.prompt(chat, features), given.token_ids if given is not None else ()
        said, generation = self._answerer.trace(prompt, new, question, out, tokens)
        scene = Scene(asked.english, chat, pictures, features, generation)
        return explain(self.model, self.image_encoder, self.engine, self._told(question, asked, said, to, out), scene)

    def read(self, image: ImageSource) -> tuple[TextLine, ...]:
        """The text in a picture. See :meth:`PictureReader.read`, which needs no language model."""
        return self._reader.read(image)

    def translate_picture(self, image: ImageSource, to: str, *, source: str | None = None) -> Image:
        """A picture with the text in it in another language. See :meth:`PictureReader.translate`."""
        return self._reader.translate(image, to, source)

    async def listen(self, blocks: AsyncIterable[Audio]) -> Audio:
        """A spoken question out of ``blocks`` of 16 kHz sound as they come, up to the first long pause.

        Raises:
            MediaError: they end before anything is said.
        """
        return await self._recognizer.listen(blocks)

    def close(self) -> None:
        """Free the models that were loaded here. May be called twice.

        What is being answered fails, or with engines that were given, is answered.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._made_here.close()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the way of a question ----------------------------------------------------------------------------------

    def _work(self, question: Question, out: AnswerStream, then: Then | None) -> None:
        """Bring ``out`` to its end."""
        if not out.start():
            return
        try:
            out.finish(self._answer(question, out, then))
        except Exception as error:
            out.fail(error)
        except BaseException as error:  # Ctrl-C in the caller's own thread; a panic in another
            out.cancel()
            with suppress(InvalidStateError):  # it came at the very end
                out.fail(error)
            raise

    def _answer(self, question: Question, out: AnswerStream, then: Then | None) -> Answer:
        asked, to = self._understand(question)
        if question.form_is_free and asks_for_text(asked.english) and self._reader.available:
            said = self._read(asked)
        else:
            said = self._say(question, asked, out, live=to == ENGLISH)
        answer = self._told(question, asked, said, to, out)
        if then is not None and not out.cancelled:
            then(asked, said)
        return answer

    def _understand(self, question: Question) -> tuple[Understood, str]:
        """``question`` in English, and the language of the answer. What cannot be done fails here, before the work."""
        asked = understand(question, self._recognizer, self._translator)
        to = ENGLISH if question.schema is not None else language_code(question.to or asked.language)
        if to != ENGLISH:
            self._translator().graph.best(ENGLISH, to)
        if question.speak:
            self._text_to_speech().check(to, question.voice)
        return asked, to

    def _rendered(self, asked: Understood, answer_tokens: int) -> RenderedChat:
        """The prompt's tokens. What is too long fails here, before any picture is looked at."""
        chat = self.model.render(asked.messages)
        total, room = len(chat.token_ids) + answer_tokens, self.engine.context_tokens
        if total > room:
            raise InputError(
                f"The question takes {len(chat.token_ids)} tokens, pictures and conversation included, and the answer "
                f"may take {answer_tokens}; together there is room for {room}. Ask in fewer words, about fewer "
                "pictures, or in a new conversation."
            )
        return chat

    def _say(self, question: Question, asked: Understood, out: AnswerStream, *, live: bool) -> Said:
        """What the language model answers, looking at the pictures."""
        chat = self._rendered(asked, question.max_new_tokens)
        features = self.image_encoder.look(medium.item for medium in chat.media)
        prompt = self.model.prompt(chat, features)
        if question.choices:
            english = question.choices
            if asked.language != ENGLISH:
                translated = self._translator().translate_many(question.choices, asked.language, ENGLISH)
                english = [choice.text for choice in translated]
            return self._answerer.choose(prompt, question.choices, english, asked.language)
        new = features[-len(asked.new_pictures) :]
        if question.schema is not None:
            return self._answerer.fill_in(prompt, new, question, out)
        return self._answerer.say(prompt, new, question, out, live=live)

    def _read(self, asked: Understood) -> Said:
        """The text in the pictures, as it stands there."""
        lines = tuple(line for picture in asked.new_pictures for line in self._reader.read(picture))
        if not lines:
            return Said(NO_TEXT, "", 0.0, refused=True)
        text, language = "\n".join(line.text for line in lines), None
        with suppress(LanguageError):  # a word, a number: nothing depends on it
            language = detect_language(text)
        sure = sum(line.confidence for line in lines) / len(lines)
        return Said(text, "", sure, language=language, read=lines)

    def _told(self, question: Question, asked: Understood, said: Said, to: str, out: AnswerStream) -> Answer:
        """``said`` in the language ``to``, and spoken if that is wanted. What was read stays as it is unless asked."""
        text, language = said.text, said.language or to
        if said.language != to and not (said.read and question.to is None):
            text, language = self._translator().translate(text, said.language, to).text, to
        if not out.text:
            out.push(text)
        return Answer(
            text=text,
            question=asked.text,
            language=language,
            said=said.said,
            confidence=said.confidence,
            refused=said.refused,
            read=said.read,
            choices=said.choices,
            data=said.data,
            speech=self._text_to_speech().speak(text, language, question.voice) if question.speak else None,
        )


def _closed_error() -> ClosedError:
    return ClosedError("The pipeline is closed. Make a new one to go on.")
