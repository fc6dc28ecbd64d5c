"""What a generation engine may be told, and what it tells."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

from mmpipe.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class Attending(Protocol):
    """What a strategy that attends to pictures from inside the language model gives to the engine."""

    def __call__(self, memory: Tensor, sees: Tensor, /) -> AbstractContextManager[None]:
        """The language model runs inside the context that this gives.

        ``memory``: (n, m, hidden), of all n pictures of all sequences of the pass. ``sees``: bool (1, t, n), which of
        the t tokens of the pass sees which picture; a token of a sequence without pictures sees none. It is not called
        when no sequence has any.
        """


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The bounds of a generation engine.

    Raises:
        InputError: a bound that nothing could satisfy.
    """

    max_sequences: int = 16  # answered at once
    max_queue: int = 64  # requests waiting to begin
    context_tokens: int = 4096  # a prompt and its answer, at most; the model's own limit if that is less
    #: All prompts and answers at once, each with the room it was given (the next power of two). What is kept for them
    #: is less than four times that: SmolLM2 135M takes 46 kB a token in float32.
    cache_tokens: int = 16_384
    #: How much of waiting prompts is read in one pass while others are being answered, and when nobody is. Sixty-four
    #: tokens make a pass on a CPU about twice as long; a GPU hardly notices a thousand.
    prefill_tokens: int = 64
    idle_prefill_tokens: int = 512
    prefix_cache_bytes: int = 256 << 20  # for what prompts have in common with earlier ones; 0: keep nothing
    #: Of torch, for the engine's thread, and as torch has it for threads that are started later. None: as it is.
    threads: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            least = 0 if item.name == "prefix_cache_bytes" else 1
            if value is not None and value < least:
                raise InputError(f"{item.name} is {value}; it must be at least {least}.")
        if self.context_tokens > self.cache_tokens:
            raise InputError(
                f"A sequence may take {self.context_tokens} tokens, but all of them together only {self.cache_tokens}. "
                "Raise cache_tokens or lower context_tokens."
            )


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot. Every accepted request is in exactly one of queued, running, done, failed and cancelled."""

    submitted: int = 0
    refused: int = 0  # the queue was full
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    queued: int = 0  # now
    queued_max: int = 0  # at any time
    running: int = 0  # now

    steps: int = 0  # passes of the model
    sequence_steps: int = 0  # tokens that sequences asked for, over all passes
    generated_tokens: int = 0
    prefilled_tokens: int = 0  # of prompts, computed
    reused_tokens: int = 0  # of prompts, known from earlier ones
    wait_s: float = 0.0  # from request to when it began, over all that did
    first_token_s: float = 0.0  # from request to first token, over all answers that are done
    duration_s: float = 0.0  # from request to end, over all that are done
    run_s: float = 0.0  # in the model

    @property
    def tokens_per_s(self) -> float:
        """Generated, while the model ran."""
        return self.generated_tokens / self.run_s if self.run_s else 0.0

    @property
    def mean_sequences(self) -> float:
        """Answered in one pass."""
        return self.sequence_steps / self.steps if self.steps else 0.0

    def plus(self, **amounts: float) -> EngineStats:
        """These figures with ``amounts`` added to the fields of those names."""
        return replace(self, **{name: getattr(self, name) + amount for name, amount in amounts.items()})
