"""Answers from a language model, many at once: continuous batching on one thread."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor

from mmpipe.batching.device import Device
from mmpipe.errors import ClosedError, InputError
from mmpipe.generation.attention import install
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.options import Attending, EngineOptions, EngineStats
from mmpipe.generation.requests import Generation, GenerationRequest, Prompt, Score, ScoreRequest
from mmpipe.generation.scheduler import Scheduler
from mmpipe.generation.sequences import GenerationSequence, ScoreSequence, TokenSequence
from mmpipe.generation.streams import GenerationStream

_SequenceT = TypeVar("_SequenceT", bound=TokenSequence)


class GenerationEngine:
    """Writes answers for any number of threads and event loops, together on one language model.

    ::

        with GenerationEngine(LanguageModel.load()) as engine:
            stream = engine.submit(GenerationRequest(Prompt(token_ids=ids)))
            for piece in stream: ...
            answers = engine.generate(requests)

    A request joins those that are being answered before the next pass of the model, and leaves when it is done. Its
    answer does not depend on the company it had, but for rounding.

    Args:
        language_model: from now on the engine's; whoever else runs it at the same time slows it down. What has been
            inserted into it (LoRA, a strategy's layers) counts.
        options: the bounds.
        attending: for strategies that attend to pictures from inside the model.
        device: shared with the batchers of other models on the same accelerator, so that one computes at a time. The
            engine holds it for one pass at a time.

    An engine that is dropped without being closed finishes what it was given, then its thread ends. It does not survive
    a fork.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        options: EngineOptions | None = None,
        *,
        attending: Attending | None = None,
        device: Device | None = None,
    ) -> None:
        self.language_model = language_model
        self.options = options or EngineOptions()
        install(language_model.model)
        # The thread refers to the runner only: an engine that nobody holds any more is noticed.
        self._runner = _Runner(language_model, self.options, attending, device or Device())
        weakref.finalize(self, self._runner.close, drain=True, wait=False).atexit = False

    @property
    def context_tokens(self) -> int:
        """How long a prompt and its answer may be together."""
        return self._runner.context_tokens

    def start(self) -> Self:
        """Start the thread now rather than with the first request.

        Raises:
            ClosedError: it is closed.
        """
        self._runner.start()
        return self

    def submit(self, request: GenerationRequest, *, block: bool = False) -> GenerationStream:
        """Have an answer written. ``block``: while the queue is full, wait for room instead of raising.

        Raises:
            InputError: the prompt does not fit the model: too long with its answer, of another hidden size, not finite.
            QueueFullError: no room now; ``retry_after_s`` says when to try again.
            ClosedError: the engine is closed.
        """
        return self._runner.submit(request, block=block)

    def generate(self, requests: Iterable[GenerationRequest]) -> list[Generation]:
        """The answers to ``requests``, in order. Waits while the queue is full. See :meth:`submit`.

        The first error is raised; what is still being written is then cancelled.
        """
        streams: list[GenerationStream] = []
        try:
            for request in requests:
                streams.append(self.submit(request, block=True))  # noqa: PERF401  those begun are cancelled on an error
            return [stream.result() for stream in streams]
        finally:
            for stream in streams:
                stream.cancel()

    def score(self, request: ScoreRequest, *, block: bool = False) -> Future[list[Score]]:
        """Have continuations scored, in order. Cancelling the future works while it waits. See :meth:`submit`."""
        return self._runner.score(request, block=block)

    @property
    def stats(self) -> EngineStats:
        """A snapshot of what was done so far."""
        return self._runner.stats()

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests, finish those there are (or, without ``drain``, fail them), and end the thread.

        Blocks until that is done. May be called from any thread and more than once.
        """
        self._runner.close(drain=drain)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=error is None)


class _Runner:
    """The engine's thread, and the way of requests to it."""

    def __init__(
        self, language_model: LanguageModel, options: EngineOptions, attending: Attending | None, device: Device
    ) -> None:
        self._language_model = language_model
        self._options = options
        self._attends = attending is not None
        self._memory_shape: tuple[int, ...] | None = None  # (m, hidden), as in the first prompt that has any
        self._device = device
        self._changed = threading.Condition(threading.RLock())
        self._scheduler = Scheduler(language_model.model, options, attending, self._changed)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._dropping = False
        self.context_tokens = min(options.context_tokens, language_model.context_tokens)

    def start(self) -> None:
        with self._changed:
            if self._closing:
                raise _closed_error()
            if self._thread is None:
                # A daemon, so that an engine nobody closed does not keep the process alive.
                self._thread = threading.Thread(target=self._main, name="mmpipe-generation", daemon=True)
                self._thread.start()
                _running.add(self)
            elif not self._thread.is_alive():
                raise ClosedError(
                    "The thread of the generation engine is gone: an engine does not survive a fork. Make it in the "
                    "process that uses it."
                )

    def submit(self, request: GenerationRequest, *, block: bool) -> GenerationStream:
        embeddings = self._embeddings(request.prompt)
        stop_ids = frozenset({self._language_model.turn_end_id})
        tokenizer = self._language_model.tokenizer

        def sequence(step: int) -> GenerationSequence:
            return GenerationSequence(request, embeddings, step, tokenizer, stop_ids, self._cancel)

        return self._push(sequence, block=block).stream

    def score(self, request: ScoreRequest, *, block: bool) -> Future[list[Score]]:
        embeddings = self._embeddings(request.prompt)
        most = max(self._options.prefill_tokens, self._options.idle_prefill_tokens)
        return self._push(lambda step: ScoreSequence(request, embeddings, step, most), block=block).future

    def close(self, *, drain: bool, wait: bool = True) -> None:
        with self._changed:
            self._closing = True
            self._dropping = self._dropping or not drain
            self._changed.notify_all()
            thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def stats(self) -> EngineStats:
        with self._changed:
            return self._scheduler.stats()

    def _embeddings(self, prompt: Prompt) -> Tensor:
        """(t, hidden), whatever the prompt was given as."""
        lm = self._language_model
        if prompt.memory is not None:
            self._check_memory(prompt.memory)
        with torch.inference_mode():
            embeddings: Tensor = lm.embed(prompt.token_ids) if prompt.embeddings is None else prompt.embeddings.detach()
        if embeddings.shape[1] != lm.hidden_size:
            raise InputError(
                f"The embeddings of the prompt have size {embeddings.shape[1]}; those of the language model have "
                f"{lm.hidden_size}. Use the adapter that was trained for {lm.source.name}."
            )
        if not embeddings.isfinite().all():
            raise InputError("The embeddings of the prompt are not all finite numbers. Check what projected them.")
        return embeddings

    def _check_memory(self, memory: Tensor) -> None:
        if not self._attends:
            raise InputError("The prompt has a memory, but the engine was made without `attending` to look at it.")
        each = tuple(memory.shape[1:])
        self._memory_shape = self._memory_shape or each
        if each != self._memory_shape:
            raise InputError(
                f"The memory of the prompt has shape {each} for a picture, that of earlier ones {self._memory_shape}. "
                "Make all of them with one strategy."
            )

    def _push(self, make: Callable[[int], _SequenceT], *, block: bool) -> _SequenceT:
        with self._changed:
            sequence = make(self._scheduler.stats().steps)
            if sequence.total_tokens > self.context_tokens:
                answer = sequence.total_tokens - sequence.prompt_tokens
                raise InputError(
                    f"The prompt has {sequence.prompt_tokens} tokens, and {answer} are asked for as an answer; there "
                    f"is room for {self.context_tokens} together. Shorten the question, or the text that goes with it."
                )
            self.start()
            while not self._scheduler.has_room:
                if not block or threading.current_thread() is self._thread:
                    self._scheduler.count(refused=1)
                    raise self._scheduler.queue_full_error()
                self._changed.wait()
                if self._closing:
                    raise _closed_error()
            self._scheduler.push(sequence)
            return sequence

    def _cancel(self, sequence: GenerationSequence) -> None:
        with self._changed:
            self._scheduler.withdraw(sequence)

    def _main(self) -> None:
        if self._options.threads is not None:
            torch.set_num_threads(self._options.threads)
        try:
            while self._await_work():
                with self._device:
                    self._scheduler.step()
        finally:  # nothing is left by now, unless the work was dropped, or this loop itself has failed
            self.close(drain=False)
            self._scheduler.fail_all(_closed_error())

    def _await_work(self) -> bool:
        with self._changed:
            while not self._scheduler.busy and not self._closing:
                self._changed.wait()
            return self._scheduler.busy and not self._dropping


def _closed_error() -> ClosedError:
    return ClosedError("The generation engine is closed. Make a new one to go on.")


_running: weakref.WeakSet[_Runner] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A daemon thread that is cut off inside a C++ library aborts the process: let the running pass end first."""
    for runner in list(_running):
        runner.close(drain=False)
