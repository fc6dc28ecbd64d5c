"""What one visitor does with pictures: a conversation about them, text that is read in them, what answers rest on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmpipe.audio import media
from mmpipe.demo.errors import told
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import name
from mmpipe.errors import InputError
from mmpipe.types import TextLine
from mmpipe.untrusted import UntrustedImage, UntrustedMedia
from mmpipe.vision import images

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa import AskOptions, Conversation, Evidence
    from mmpipe.types import Answer

T = TypeVar("T")

MAX_PICTURES = 6
MAX_PICTURE_BYTES = 20 * 2**20
#: What browsers show as it is.
_SHOWN = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif"})
#: Of their own: what waits for a model here would hold up others in those of the event loop.
_THREADS = ThreadPoolExecutor(24, "mmpipe-pictures")
_BUSY = "One thing after the other: the answer before is still on its way."


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """What a visitor asked for, and what came of it so far. ``pictures``: those it brought into the conversation."""

    asked: str
    pictures: tuple[Path, ...] = ()
    heard: bool = False  # ``asked`` was spoken
    text: str = ""  # of the answer
    answer: Answer | None = None
    speech: Path | None = None
    lines: tuple[TextLine, ...] | None = None  # read in the pictures
    drawn: tuple[Path, ...] = ()  # pictures that were made
    evidence: Evidence | None = None
    problem: str = ""
    done: bool = False


@dataclass(slots=True)
class ImageChatSession:
    """Used on the event loop. Each of its ways yields whenever there is more to see in :attr:`turns`."""

    folder: Path
    turns: list[ChatTurn] = field(default_factory=list)
    busy: bool = False
    _conversation: Conversation | None = None
    _shown: tuple[Path, ...] = ()  # in the conversation so far
    _made: int = 0

    async def ask(
        self, models: DemoModels, question: str | Path, pictures: Sequence[Path], options: AskOptions
    ) -> AsyncIterator[None]:
        """``question``, typed or a recording, about ``pictures`` and what was said before."""
        if self._conversation is None or not set(self._shown) <= set(pictures):
            self._conversation, self._shown = None, ()  # a picture was taken away: what was said of it would confuse
        new = tuple(picture for picture in pictures if picture not in self._shown)
        heard = isinstance(question, Path)
        with self._turn(ChatTurn("" if heard else str(question), new, heard=heard)):
            yield
            qa = await _aside(lambda: models.qa)
            conversation = self._conversation = self._conversation or qa.conversation()
            asked = UntrustedMedia(question, question.name) if isinstance(question, Path) else question
            stream = await _aside(conversation.stream, asked, [_untrusted(picture) for picture in new], **options)
            async for piece in stream:
                self._update(text=self.turns[-1].text + piece)
                yield
            answer = await stream
            self._shown = tuple(pictures)
            speech = None
            if answer.speech is not None:
                speech = self._path("answer.mp3")
                await _aside(media.save, answer.speech, speech)
            self._update(asked=answer.question, text=answer.text, answer=answer, speech=speech)
        yield

    async def read(self, models: DemoModels, pictures: Sequence[Path]) -> AsyncIterator[None]:
        """The text in ``pictures``."""
        with self._turn(ChatTurn("Read the text.", tuple(pictures))):
            yield
            reader = await _aside(lambda: models.reader)
            found: tuple[TextLine, ...] = ()
            for picture in pictures:
                found += await _aside(reader.read, _untrusted(picture))
                self._update(lines=found)
                yield
        yield

    async def translate(self, models: DemoModels, pictures: Sequence[Path], to: str) -> AsyncIterator[None]:
        """``pictures`` with the text in them in another language."""
        with self._turn(ChatTurn(f"Translate the text into {name(to)}.", tuple(pictures))):
            yield
            reader = await _aside(lambda: models.reader)
            from mmpipe.pipelines.multimodal_qa.image_encoding import load_in_full

            for picture in pictures:
                image = await _aside(load_in_full, _untrusted(picture))
                if not (lines := await _aside(reader.read, image)):
                    raise InputError("There is no text in the picture that can be read. Try a sharper or larger one.")
                translated = await _aside(reader.translate, image, to, lines=lines)
                path = self._path(f"{picture.stem}.{to}.png")
                await _aside(images.save, translated, path)
                self._update(drawn=(*self.turns[-1].drawn, path))
                yield
        yield

    async def explain(self) -> AsyncIterator[None]:
        """What the last answer rests on, in the light of what was said before it."""
        with self._turn(ChatTurn("What does that answer rest on?")):
            yield
            answer = next((turn.answer for turn in reversed(self.turns) if turn.answer), None)
            if answer is None or self._conversation is None:
                raise InputError("There is no answer yet. Ask something about a picture first.")
            if answer.read:
                raise InputError("That answer is text that stands in the picture: it rests on the text itself.")
            evidence = await _aside(self._conversation.explain)
            path = self._path("evidence.png")
            await _aside(lambda: images.save(evidence.draw(), path))
            self._update(evidence=evidence, drawn=(path,))
        yield

    def forget(self) -> None:
        """Begin a new conversation."""
        self.turns, self._conversation, self._shown = [], None, ()

    def close(self) -> None:
        """Nothing goes on without the page that asks for it."""

    @property
    def can_explain(self) -> bool:
        return any(turn.answer is not None for turn in self.turns)

    @contextmanager
    def _turn(self, turn: ChatTurn) -> Iterator[None]:
        """Add ``turn``; what goes wrong with it is told in its place."""
        if self.busy:
            raise InputError(_BUSY)
        self.busy = True
        self.turns.append(turn)
        turns = self.turns
        try:
            yield
        except Exception as error:
            self._update(problem=told(error))
        finally:
            self.busy = False
            if turns is self.turns:
                self._update(done=True)

    def _update(self, **changes: object) -> None:
        if self.turns:  # not forgotten in the meantime
            self.turns[-1] = replace(self.turns[-1], **changes)  # type: ignore[arg-type]

    def _path(self, file: str) -> Path:
        self._made += 1
        path = self.folder / f"made-{self._made}" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


async def _aside(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What ``work`` gives, without holding up the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(work, *arguments, **options))


def checked(picture: Path) -> Path:
    """``picture``, or a copy of it that browsers show.

    Raises:
        ImageError: it cannot be read. The message calls it by its name.
    """
    loaded = images.load(_untrusted(picture))
    if picture.suffix.lower() in _SHOWN:
        return picture
    copy = picture.with_suffix(".png")
    images.save(loaded, copy)
    return copy


def _untrusted(picture: Path) -> UntrustedImage:
    return UntrustedImage(picture, picture.name, MAX_PICTURE_BYTES)
