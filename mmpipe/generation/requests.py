"""What a generation engine is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from mmpipe.errors import InputError
from mmpipe.generation.sampling import SamplingOptions


class Constraint(Protocol):
    """What one answer may still say. The engine asks before each token, and tells which it took."""

    def restrict(self, logits: Tensor) -> None:
        """Set to -inf, in place, what may not come next. ``logits``: float32 (vocabulary,), on the CPU."""

    def accept(self, token_id: int) -> None:
        """``token_id`` was chosen."""

    @property
    def finished(self) -> bool:
        """Nothing may follow."""


class Grammar(Protocol):
    """A form for answers, which any number of them may follow at once."""

    def start(self) -> Constraint:
        """The constraint of a new answer."""


class ForcedTokens:
    """A :class:`Grammar` that leaves no choice: an answer that was given is gone through again, to be looked into.

    Args:
        token_ids: of the answer, at least one.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._token_ids = tuple(token_ids)

    def start(self) -> Constraint:
        return _Forced(self._token_ids)


class _Forced:
    def __init__(self, token_ids: Sequence[int]) -> None:
        self._token_ids, self._taken = token_ids, 0

    def restrict(self, logits: Tensor) -> None:
        token_id = self._token_ids[self._taken]
        wanted = logits[token_id].clone()
        logits.fill_(-torch.inf)
        logits[token_id] = wanted

    def accept(self, token_id: int) -> None:
        self._taken += 1

    @property
    def finished(self) -> bool:
        return self._taken == len(self._token_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the language model reads. Either ``embeddings`` or ``token_ids``.

    ``embeddings``: (t, hidden), pictures already spliced in. ``memory``: (n, m, hidden), what n pictures give to
    strategies that attend to them from inside the language model; see :class:`~mmpipe.generation.engine.Attending`.
    """

    embeddings: Tensor | None = None
    token_ids: Sequence[int] = ()
    memory: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.embeddings is None) == (not len(self.token_ids)):
            raise InputError("A prompt is given as embeddings or as token ids: one of them, and not empty.")
        if self.embeddings is not None and (self.embeddings.ndim != 2 or not len(self.embeddings)):
            raise InputError(f"The embeddings of a prompt have shape (t, hidden), not {tuple(self.embeddings.shape)}.")
        if self.memory is not None and self.memory.ndim != 3:
            raise InputError(f"The memory of a prompt has shape (n, m, hidden), not {tuple(self.memory.shape)}.")

    def __len__(self) -> int:
        """Tokens."""
        return len(self.token_ids) if self.embeddings is None else len(self.embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class GenerationRequest:
    """One answer to be written.

    ``stop_ids``: besides the end of the turn, which always ends an answer. ``stop_strings``: the answer ends before
    the first of them. ``trace_attention``: say which tokens of the prompt each token of the answer looked at.
    """

    prompt: Prompt
    max_new_tokens: int = 128
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    stop_strings: Sequence[str] = ()
    stop_ids: Sequence[int] = ()
    grammar: Grammar | None = None
    trace_attention: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        if not all(self.stop_strings):
            raise InputError("A stop string is empty: the answer would end before it began.")


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"  # the model ended its turn, or came to a stop string, or the grammar is complete
    LENGTH = "length"  # max_new_tokens
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """An answer. Incomplete when ``finish`` says so."""

    text: str  # what the token ids say, without what stops it
    token_ids: tuple[int, ...]  # with the one that ended the turn
    logprobs: tuple[float, ...]  # of each token, natural, before temperature and the like
    finish: FinishReason
    prompt_tokens: int
    reused_tokens: int  # of the prompt, known from an earlier one
    waited_steps: int  # passes of the model that ended between the request and the first token, with its own
    first_token_s: float  # from the request; the whole time if there was none
    duration_s: float  # from the request
    #: float32 (answer tokens, layers, prompt tokens): the share of attention, mean over heads, with which each token
    #: was chosen. Rows sum to less than 1: the rest went to the answer itself. None unless it was asked for.
    attention: Tensor | None = None

    @property
    def mean_logprob(self) -> float:
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ScoreRequest:
    """How likely are these continuations of a prompt? ``choices``: token ids, each not empty."""

    prompt: Prompt
    choices: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not self.choices or not all(len(choice) for choice in self.choices):
            raise InputError("Scoring wants at least one choice, and no choice without tokens.")


@dataclass(frozen=True, slots=True)
class Score:
    """The natural logarithm of a continuation's probability, ``logprob``, over its ``tokens``."""

    logprob: float
    tokens: int

    @property
    def mean_logprob(self) -> float:
        return self.logprob / self.tokens
