"""The requests that an engine is working on, each with what it has come to."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from torch import Tensor

from mmpipe.errors import StageError
from mmpipe.generation.attention import Trace
from mmpipe.generation.kv_cache import PromptCache, Slot, capacity_for
from mmpipe.generation.requests import FinishReason, Generation, GenerationRequest, Score, ScoreRequest
from mmpipe.generation.sampling import Sampler
from mmpipe.generation.streams import GenerationStream
from mmpipe.generation.text_stream import TextStream


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """Tokens of one sequence for the next pass.

    ``embeddings``: (c, hidden), or ``ids``: c of them. ``positions``: c. ``sees``: see
    :class:`~mmpipe.generation.attention.PrefillChunk`. ``keep``: at which of them the logits are wanted. ``advance``:
    how many stay in the sequence's cache.
    """

    positions: Sequence[int]
    keep: Sequence[int]
    advance: int
    embeddings: Tensor | None = None
    ids: Sequence[int] = ()
    sees: Tensor | None = None


class TokenSequence(ABC):
    """One request. Its prompt is read first, in chunks."""

    def __init__(self, embeddings: Tensor, memory: Tensor | None, step: int) -> None:
        self.embeddings = embeddings  # (t, hidden), of the prompt
        self.memory = memory
        self.cache: PromptCache | None = None  # while the prompt is read
        self.reused_tokens = 0
        self.submitted_step = step
        self.submitted_s = time.monotonic()
        self.cancelled = False

    @property
    def prompt_tokens(self) -> int:
        return len(self.embeddings)

    @property
    @abstractmethod
    def total_tokens(self) -> int:
        """How long the sequence may become."""

    @property
    def cache_tokens(self) -> int:
        """The room it needs while the prompt is read."""
        return self.prompt_tokens

    @property
    def reserved_tokens(self) -> int:
        """The room in the cache that is set aside for it."""
        return capacity_for(max(self.total_tokens, self.cache_tokens))

    @property
    def unread_tokens(self) -> int:
        return self.prompt_tokens - (self.cache.length if self.cache else 0)

    def next_chunk(self, most: int) -> TokenChunk:
        """What to compute next, about ``most`` tokens."""
        assert self.cache is not None
        start = self.cache.length
        stop = min(start + most, self.prompt_tokens)
        return TokenChunk(
            positions=range(start, stop),
            keep=(stop - start - 1,) if stop == self.prompt_tokens else (),
            advance=stop - start,
            embeddings=self.embeddings[start:stop],
        )

    def start(self) -> bool:
        """It is about to be worked on. False: nobody wants it any more."""
        return True

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Tell whoever waits."""

    @abstractmethod
    def cancel(self) -> None:
        """It was cancelled."""


class GenerationSequence(TokenSequence):
    """An answer being written."""

    def __init__(
        self,
        request: GenerationRequest,
        embeddings: Tensor,
        step: int,
        tokenizer: object,
        stop_ids: frozenset[int],
        cancel: Callable[[GenerationSequence], None],
    ) -> None:
        super().__init__(embeddings, request.prompt.memory, step)
        self.request = request
        self.stream = GenerationStream(lambda: cancel(self))
        self.slot: Slot | None = None  # once the prompt has been read
        self.ids: list[int] = []
        self.plain = request.sampling.plain and request.grammar is None
        self._logprobs: list[float] = []
        self._stop_ids = stop_ids | frozenset(request.stop_ids)
        self._text = TextStream(tokenizer, request.stop_strings)
        self._sampler = Sampler(request.sampling)
        self._constraint = request.grammar.start() if request.grammar else None
        self._attention: list[Tensor] = []  # a token each: (layers, prompt tokens)
        self._first_token: tuple[int, float] | None = None  # steps and seconds from the request

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.request.max_new_tokens

    @property
    def first_token_s(self) -> float:
        """From the request; 0 before there is one."""
        return self._first_token[1] if self._first_token else 0.0

    @property
    def position(self) -> int:
        """Of the newest token, which has not been computed yet."""
        return self.prompt_tokens + len(self.ids) - 1

    def choose(self, logits: Tensor) -> int:
        """The next token, where it takes more than the likeliest. ``logits``: float32 (vocabulary,), on the CPU."""
        if self._constraint is not None:
            self._constraint.restrict(logits)
            if not logits.isfinite().any():
                raise StageError("The grammar allows no token at all here. Simplify it.")
        return self._sampler.choose(logits, self.ids)

    def append_token(self, token_id: int, logprob: float, step: int, trace: Trace | None) -> FinishReason | None:
        """Append a token. Gives why the answer has ended, if it has."""
        if self._first_token is None:
            self._first_token = (step - self.submitted_step, time.monotonic() - self.submitted_s)
        self.ids.append(token_id)
        self._logprobs.append(logprob)
        if trace is not None:
            self._attention.append(torch.stack(trace.layers)[:, : self.prompt_tokens].cpu())
        if self._constraint is not None:
            self._constraint.accept(token_id)
        ended = token_id in self._stop_ids
        piece = "" if ended else self._text.push(token_id)
        ended = ended or self._text.stopped or (self._constraint is not None and self._constraint.finished)
        finish = FinishReason.STOP if ended else None
        if finish is None and len(self.ids) == self.request.max_new_tokens:
            finish = FinishReason.LENGTH
        self.stream.push(piece + self._text.flush() if finish else piece)
        return finish

    def finish(self, finish: FinishReason) -> None:
        duration_s = time.monotonic() - self.submitted_s
        steps, first_s = self._first_token or (0, duration_s)
        self.stream.finish(
            Generation(
                text=self.stream.text,
                token_ids=tuple(self.ids),
                logprobs=tuple(self._logprobs),
                finish=finish,
                prompt_tokens=self.prompt_tokens,
                reused_tokens=self.reused_tokens,
                waited_steps=steps,
                first_token_s=first_s,
                duration_s=duration_s,
                attention=torch.stack(self._attention) if self._attention else None,
            )
        )

    def fail(self, error: BaseException) -> None:
        self.stream.fail(error)

    def cancel(self) -> None:
        self.stream.push(self._text.flush())
        self.finish(FinishReason.CANCELLED)


class ScoreSequence(TokenSequence):
    """Continuations being scored.

    All of them are read behind one and the same prompt: each sees the prompt and itself, and positions begin anew
    after the prompt, so that what is long is computed once.
    """

    def __init__(self, request: ScoreRequest, embeddings: Tensor, step: int, chunk_tokens: int) -> None:
        """``chunk_tokens``: the most that :meth:`chunk` is asked for."""
        super().__init__(embeddings, request.prompt.memory, step)
        self.request = request
        self._longest = max(len(choice) for choice in request.choices)
        self._chunk_tokens = max(chunk_tokens, self._longest)
        self.future: Future[list[Score]] = Future()
        self._scores: list[Score] = []
        self._first: Tensor | None = None  # log probabilities of what may follow the prompt
        self._prefilling: list[Sequence[int]] = []

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self._longest

    @property
    def cache_tokens(self) -> int:
        return self.prompt_tokens + self._chunk_tokens

    @property
    def unread_tokens(self) -> int:
        done = len(self._scores) + len(self._prefilling)
        return super().unread_tokens + sum(len(choice) - 1 for choice in self.request.choices[done:])

    def next_chunk(self, most: int) -> TokenChunk:
        if self._first is None:
            return super().next_chunk(most)
        ids: list[int] = []
        owner: list[int] = []
        positions: list[int] = []
        for choice in self.request.choices[len(self._scores) :]:
            if ids and len(ids) + len(choice) - 1 > most:
                break
            owner += [len(self._prefilling)] * (len(choice) - 1)
            self._prefilling.append(choice)
            ids += choice[:-1]
            positions += range(self.prompt_tokens, self.prompt_tokens + len(choice) - 1)
        whose = torch.tensor(owner)
        sees = (whose[:, None] == whose[None, :]).tril()
        return TokenChunk(positions, range(len(ids)), advance=0, ids=ids, sees=sees)

    def append_logits(self, logits: Tensor) -> None:
        """``logits``: float32 (kept, vocabulary), of the last chunk."""
        logprobs = logits.log_softmax(-1)
        at = 0
        if self._first is None:
            self._first = logprobs[-1]
        for choice in self._prefilling:
            after = logprobs[at : at + len(choice) - 1]
            rest = after.gather(1, torch.tensor(choice[1:], device=logits.device)[:, None]).sum()
            self._scores.append(Score(float(self._first[choice[0]] + rest), len(choice)))
            at += len(choice) - 1
        self._prefilling = []
        for choice in self.request.choices[len(self._scores) :]:
            if len(choice) > 1:  # needs a pass
                return
            self._scores.append(Score(float(self._first[choice[0]]), 1))

    @property
    def finished(self) -> bool:
        return len(self._scores) == len(self.request.choices)

    def finish(self) -> None:
        self.future.set_result(self._scores)

    def start(self) -> bool:
        return self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        if self.future.running() or self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def cancel(self) -> None:
        """Its future cannot be cancelled once it runs."""
