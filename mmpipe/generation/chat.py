"""Messages as the language model reads them: ChatML, with placeholders where pictures and sounds will be.

The turns are built token by token and not through the tokenizer's chat template. A template makes one text of
everything, in which what a user typed could pass for the end of a turn; and SmolLM2's speaks a system message of its
own when there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from mmpipe.errors import InputError

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel

Role = Literal["system", "user", "assistant"]

#: In a text, the place of a picture or sound that is given beside it.
MARKER = "<image>"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``content``: texts, and among them pictures and sounds, of whatever type the caller has them in.

    Raises:
        InputError: an unknown role, or nothing in it.
    """

    role: Role
    content: str | Sequence[Any]

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InputError(f"A message has the role {self.role!r}. Known: {', '.join(get_args(Role))}.")
        if not any(part if isinstance(part, str) else True for part in self.parts):
            raise InputError(f"A message of the {self.role} is empty. Put a question or a picture in it.")

    @property
    def parts(self) -> Sequence[Any]:
        return (self.content,) if isinstance(self.content, str) else self.content


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture or sound in a prompt: what the caller gave, and its placeholders, ``start`` to ``stop``."""

    item: Any
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A prompt. ``media`` in the order of their placeholders."""

    token_ids: tuple[int, ...]
    media: tuple[Medium, ...]


def render(
    language_model: LanguageModel, messages: Sequence[Message], n_tokens: Callable[[Any], int] | int = 1
) -> RenderedChat:
    """The token ids of a conversation that the assistant is to continue.

    ``n_tokens``: how many placeholders a picture or sound takes: a number, or a function of it.

    Raises:
        InputError: there is no message, the last is not the user's, or the system speaks later than first.
    """
    _check_order(messages)
    lm = language_model
    ids: list[int] = []
    media: list[Medium] = []
    for message in messages:
        ids += [lm.turn_start_id, *lm.encode(f"{message.role}\n")]
        for part in message.parts:
            if isinstance(part, str):
                ids += lm.encode(part)
            else:
                count = n_tokens(part) if callable(n_tokens) else n_tokens
                media.append(Medium(part, len(ids), len(ids) + count))
                ids += [lm.placeholder_id] * count
        ids += [lm.turn_end_id, *lm.encode("\n")]
    ids += [lm.turn_start_id, *lm.encode("assistant\n")]
    return RenderedChat(tuple(ids), tuple(media))


def interleave(text: str, media: Sequence[Any], marker: str = MARKER) -> tuple[Any, ...]:
    """Content of a message: each ``marker`` in ``text`` replaced by one of ``media``; without any, they come first.

    Raises:
        InputError: there are not as many markers as media.
    """
    texts = text.split(marker)
    if len(texts) == 1:
        return (*media, text) if text else tuple(media)
    if len(texts) - 1 != len(media):
        raise InputError(
            f"The text has {len(texts) - 1} times {marker}, but {len(media)} pictures or sounds came with it. "
            f"Write {marker} once for each, or not at all."
        )
    parts: list[Any] = [texts[0]]
    for medium, following in zip(media, texts[1:], strict=True):
        parts += [medium, following]
    return tuple(part for part in parts if part != "")


def _check_order(messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("There is no message. Ask something.")
    if messages[-1].role != "user":
        raise InputError(f"The last message is the {messages[-1].role}'s: there is nothing to answer.")
    if any(message.role == "system" for message in messages[1:]):
        raise InputError("A system message comes after other messages. Put it first.")
