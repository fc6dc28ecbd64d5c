"""Which tokens are computed next: one pass of the language model after the other, for all sequences together.

A pass computes the newest token of every sequence that is being answered, and a chunk of the prompts that are being
read. Requests join before a pass and leave after it, so nobody waits for anybody to finish (Orca, OSDI 2022). The chunk
is short while sequences are being answered, so that a long prompt slows them a little and never stops them
(Sarathi-Serve, OSDI 2024).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmpipe.errors import ClosedError, MmpipeError, QueueFullError, StageError
from mmpipe.generation.attention import DecodeBatch, Packed, PrefillChunk, Trace
from mmpipe.generation.kv_cache import CacheShape, KVBlockPool, PromptCache, Slot
from mmpipe.generation.options import Attending, EngineOptions, EngineStats
from mmpipe.generation.prefixes import CachedPrefix, PrefixCache
from mmpipe.generation.sequences import GenerationSequence, ScoreSequence, TokenChunk, TokenSequence
from mmpipe.logs import without_text

logger = logging.getLogger(__name__)

#: Rows. Up to so many, a pass gets the next power of two; more get a multiple of it.
_PADDING = 16


@dataclass(slots=True)
class _Pass:
    """One forward pass as it is put together."""

    embeddings: list[Tensor] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parts: list[DecodeBatch | PrefillChunk] = field(default_factory=list)
    keep: list[int] = field(default_factory=list)  # where logits are wanted
    chunks: list[tuple[TokenSequence, TokenChunk, slice]] = field(default_factory=list)  # with its part of ``keep``
    decoding: list[tuple[GenerationSequence, int]] = field(default_factory=list)  # with its place in ``keep``
    traces: dict[GenerationSequence, Trace] = field(default_factory=dict)
    memories: list[tuple[Tensor, slice]] = field(default_factory=list)  # with the tokens that see it


class Scheduler:
    """The sequences of an engine. ``step`` is for one thread; the rest may be called from any."""

    def __init__(
        self, model: Any, options: EngineOptions, attending: Attending | None, changed: threading.Condition
    ) -> None:
        self._model = model
        self._options = options
        self._attending = attending
        self._embed = model.get_input_embeddings()
        self._shape = CacheShape.of(model)
        self._skip_mask = torch.zeros(1, 1, 1, 1, device=self._shape.device)  # four dimensions: used as it is

        # Guarded by ``changed``, which is notified of what there is to do and of room in the queue.
        self._changed = changed
        self._queue: deque[TokenSequence] = deque()
        self._stats = EngineStats()

        # Of the thread that steps.
        self._prefilling: list[TokenSequence] = []  # whose prompts are being read, the oldest first
        self._blocks = KVBlockPool(self._shape)
        self._decoding: dict[Slot, GenerationSequence] = {}
        self._prefixes = PrefixCache(options.prefix_cache_bytes)

    # --- called from any thread, with ``changed`` held ---

    @property
    def has_room(self) -> bool:
        return len(self._queue) < self._options.max_queue

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._prefilling or self._decoding)

    def push(self, sequence: TokenSequence) -> None:
        self._queue.append(sequence)
        self.count(submitted=1, queued_max=max(0, len(self._queue) - self._stats.queued_max))
        self._changed.notify_all()

    def withdraw(self, sequence: GenerationSequence) -> None:
        """Its stream was cancelled: a waiting one goes at once, another one after the pass that is being computed."""
        sequence.cancelled = True
        if sequence in self._queue:
            self._queue.remove(sequence)
            self._end(sequence, "cancelled")
            sequence.cancel()
        self._changed.notify_all()

    def stats(self) -> EngineStats:
        running = len(self._prefilling) + len(self._decoding)
        return replace(self._stats, queued=len(self._queue), running=running)

    def count(self, **amounts: float) -> None:
        self._stats = self._stats.plus(**amounts)

    def queue_full_error(self) -> QueueFullError:
        sequences, ended = self._options.max_sequences, self._stats.done
        retry_after_s = len(self._queue) / 2 / sequences * self._stats.duration_s / ended if ended else 1.0
        return QueueFullError(
            f"The generation engine's queue is full ({self._options.max_queue} requests). Try again in about "
            f"{retry_after_s:.2g} s, submit with block=True, or raise max_queue.",
            retry_after_s,
        )

    # --- called on the engine's thread ---

    @torch.inference_mode()
    def step(self) -> None:
        """One pass for all, after letting go of whoever was cancelled and letting in whoever there is room for."""
        try:
            self._sweep()
            self._admit()
            plan = self._plan()
            if plan.positions:
                began_s = time.monotonic()
                logits = self._forward(plan)
                with self._changed:
                    self.count(steps=1, sequence_steps=len(plan.decoding), run_s=time.monotonic() - began_s)
                self._conclude(plan, logits)
        except BaseException as error:  # Rust's panics as well: nobody else would hear of them here
            logger.error("a pass of the language model failed: all its sequences fail\n%s", without_text(error))
            self.fail_all(error, waiting=False)

    def fail_all(self, error: BaseException, *, waiting: bool = True) -> None:
        """End every sequence with ``error``; those that still wait too, if ``waiting``."""
        sequences = [*self._prefilling, *self._decoding.values()]
        with self._changed:
            if waiting:
                sequences += self._queue
                self._queue.clear()
        self._prefilling = []
        self._decoding.clear()
        self._blocks.clear()
        self._prefixes.clear()
        for sequence in sequences:
            self._fail(sequence, error)

    def _sweep(self) -> None:
        """Let go of sequences that were cancelled."""
        sequences: list[TokenSequence] = [*self._prefilling, *self._decoding.values()]
        for sequence in [sequence for sequence in sequences if sequence.cancelled]:
            self._leave(sequence)
            self._end(sequence, "cancelled")
            sequence.cancel()

    def _admit(self) -> None:
        """Let in whoever came first, while there is room."""
        while True:
            with self._changed:
                sequences = [*self._prefilling, *self._decoding.values()]
                reserved = sum(sequence.reserved_tokens for sequence in sequences)
                if not self._queue or len(sequences) == self._options.max_sequences:
                    return
                if sequences and reserved + self._queue[0].reserved_tokens > self._options.cache_tokens:
                    return
                sequence = self._queue.popleft()
                self.count(wait_s=time.monotonic() - sequence.submitted_s)
                self._changed.notify_all()
            if not sequence.start():
                self._end(sequence, "cancelled")
                continue
            self._prefilling.append(
                sequence
            )  # before there is anything that may fail: nobody else would tell whoever waits
            sequence.embeddings = sequence.embeddings.to(self._shape.device, self._shape.dtype)
            known = self._prefixes.find(sequence.embeddings, sequence.memory)
            sequence.cache = PromptCache(self._shape, sequence.cache_tokens, known)
            sequence.reused_tokens = sequence.cache.length

    def _plan(self) -> _Pass:
        plan = _Pass()
        for block in self._blocks:
            sequences = [self._decoding[slot] for slot in block.slots]
            start = len(plan.positions)
            part = DecodeBatch(block, start, self._shape.dtype)
            plan.parts.append(part)
            plan.embeddings.append(self._embed_ids([sequence.ids[-1] for sequence in sequences]))
            for at, (sequence, slot) in enumerate(zip(sequences, block.slots, strict=True), start=start):
                self._will_decode(plan, sequence, at)
                if sequence.request.trace_attention:
                    plan.traces[sequence] = Trace(at, block.data[:, :, slot.index, :, : slot.length + 1])
                if sequence.memory is not None:
                    plan.memories.append((sequence.memory, slice(at, at + 1)))
                plan.positions.append(sequence.position)
        for reader, most in self._share():
            self._add_chunk(plan, reader, reader.next_chunk(most))
        return plan

    def _share(self) -> Iterator[tuple[TokenSequence, int]]:
        """How much of which prompt to read: the shortest first, but half for the oldest, so that it gets done too."""
        if not self._prefilling:
            return
        options = self._options
        left = options.prefill_tokens if self._decoding else options.idle_prefill_tokens
        oldest = self._prefilling[0]
        most = min(oldest.unread_tokens, max(left // 2, 1))
        others = sorted(self._prefilling[1:], key=lambda sequence: sequence.unread_tokens)
        given: list[tuple[TokenSequence, int]] = []
        for sequence in others:
            if left <= most:
                break
            part = min(sequence.unread_tokens, left - most)
            given.append((sequence, part))
            left -= part
        yield oldest, left
        yield from given

    def _add_chunk(self, plan: _Pass, sequence: TokenSequence, chunk: TokenChunk) -> None:
        assert sequence.cache is not None
        start = len(plan.positions)
        stop = start + len(chunk.positions)
        plan.parts.append(PrefillChunk(sequence.cache, start, stop, self._shape.dtype, chunk.sees))
        plan.embeddings.append(self._embed_ids(chunk.ids) if chunk.embeddings is None else chunk.embeddings)
        plan.positions += chunk.positions
        if sequence.memory is not None:
            plan.memories.append((sequence.memory, slice(start, stop)))
        kept = len(plan.keep)
        if isinstance(sequence, GenerationSequence):
            if chunk.keep:
                self._will_decode(plan, sequence, stop - 1)
                if sequence.request.trace_attention:
                    plan.traces[sequence] = Trace(stop - 1, sequence.cache.data[..., : sequence.prompt_tokens, :])
        else:
            plan.keep += [start + at for at in chunk.keep]
        plan.chunks.append((sequence, chunk, slice(kept, len(plan.keep))))

    def _will_decode(self, plan: _Pass, sequence: GenerationSequence, at: int) -> None:
        plan.decoding.append((sequence, len(plan.keep)))
        plan.keep.append(at)

    def _embed_ids(self, ids: Sequence[int]) -> Tensor:
        embedded: Tensor = self._embed(torch.tensor(ids, device=self._shape.device))
        return embedded

    def _forward(self, plan: _Pass) -> Tensor:
        """Logits where they are wanted, float32 (kept, vocabulary)."""
        device, tokens = self._shape.device, self._rows(len(plan.positions))
        embeddings, positions = torch.cat(plan.embeddings), torch.zeros(tokens, dtype=torch.long)
        positions[: len(plan.positions)] = torch.tensor(plan.positions)
        keep = plan.keep + plan.keep[-1:] * (self._rows(len(plan.keep)) - len(plan.keep))
        with self._seeing(plan, tokens):
            out = self._model(
                inputs_embeds=pad(embeddings, (0, 0, 0, tokens - len(embeddings)))[None],
                position_ids=positions.to(device)[None],
                attention_mask=self._skip_mask,
                use_cache=False,
                logits_to_keep=torch.tensor(keep, dtype=torch.long, device=device),
                packed=Packed(plan.parts, list(plan.traces.values())),
            )
        return out.logits[0, : len(plan.keep)].float()  # type: ignore[no-any-return]

    def _rows(self, count: int) -> int:
        """How many rows the matrices of a pass get that needs ``count``."""
        return padded(count) if self._shape.compiles_for_sizes else count

    def _seeing(self, plan: _Pass, tokens: int) -> Any:
        """The strategy's context, in which tokens see the pictures of their own sequence."""
        if self._attending is None or not plan.memories:
            return nullcontext()
        device, dtype = self._shape.device, self._shape.dtype
        memory = torch.cat([memory.to(device, dtype) for memory, _ in plan.memories])
        sees = torch.zeros(1, tokens, len(memory), dtype=torch.bool, device=device)
        first = 0
        for own, looking in plan.memories:
            sees[:, looking, first : first + len(own)] = True
            first += len(own)
        return self._attending(memory, sees)

    def _conclude(self, plan: _Pass, logits: Tensor) -> None:
        for slot in self._decoding:
            slot.length += 1
        read = 0
        for sequence, chunk, kept in plan.chunks:
            assert sequence.cache is not None
            sequence.cache.length += chunk.advance
            read += chunk.advance
            if isinstance(sequence, ScoreSequence) and chunk.keep:
                sequence.append_logits(logits[kept])
                if sequence.finished:
                    self._leave(sequence)
                    self._end(sequence, "done")
                    sequence.finish()
        with self._changed:
            self.count(prefilled_tokens=read, generated_tokens=len(plan.decoding))
            step = self._stats.steps
        for sequence, token_id, logprob in self._choose(plan, logits):
            self._append(sequence, token_id, logprob, step, plan.traces.get(sequence))

    def _choose(self, plan: _Pass, logits: Tensor) -> Iterator[tuple[GenerationSequence, int, float]]:
        """The next token of each sequence and its log probability."""
        if not plan.decoding:
            return
        logits = logits[[at for _, at in plan.decoding]]
        total = logits.logsumexp(-1).tolist()
        likeliest = logits.argmax(-1).tolist()
        for at, (sequence, _) in enumerate(plan.decoding):
            token_id = likeliest[at]
            if not sequence.plain:
                try:
                    token_id = sequence.choose(logits[at].cpu().clone())
                except BaseException as error:
                    self._leave(sequence)
                    self._fail(sequence, error)
                    continue
            yield sequence, token_id, float(logits[at, token_id]) - total[at]

    def _append(
        self, sequence: GenerationSequence, token_id: int, logprob: float, step: int, trace: Trace | None
    ) -> None:
        try:
            finish = sequence.append_token(token_id, logprob, step, trace)
        except BaseException as error:  # of a grammar
            self._leave(sequence)
            self._fail(sequence, error)
            return
        if finish is not None:
            self._leave(sequence)
            self._end(sequence, "done")
            sequence.finish(finish)
        elif sequence.slot is None:
            assert sequence.cache is not None
            sequence.slot = self._blocks.add(sequence.cache, sequence.total_tokens)
            self._decoding[sequence.slot] = sequence
            self._prefilling.remove(sequence)
            sequence.cache = None

    def _leave(self, sequence: TokenSequence) -> None:
        """Take ``sequence`` out, and keep what was computed for it."""
        if isinstance(sequence, GenerationSequence) and sequence.slot is not None:
            said = self._embed_ids(sequence.ids[:-1]) if len(sequence.ids) > 1 else sequence.embeddings[:0]
            self._keep(sequence, torch.cat((sequence.embeddings, said))[: sequence.slot.length], sequence.slot.filled)
            self._blocks.remove(sequence.slot)
            del self._decoding[sequence.slot]
        elif sequence in self._prefilling:
            assert sequence.cache is not None
            self._keep(sequence, sequence.embeddings[: sequence.cache.length], sequence.cache.filled)
            self._prefilling.remove(sequence)

    def _keep(self, sequence: TokenSequence, embeddings: Tensor, cache: Tensor) -> None:
        if self._options.prefix_cache_bytes and len(embeddings):
            self._prefixes.keep(CachedPrefix(embeddings.clone(), sequence.memory, cache.clone()))

    def _fail(self, sequence: TokenSequence, error: BaseException) -> None:
        self._end(sequence, "failed")
        sequence.fail(_explained(error))

    def _end(self, sequence: TokenSequence, outcome: str) -> None:
        first_s = sequence.first_token_s if isinstance(sequence, GenerationSequence) else 0.0
        with self._changed:
            self.count(
                **{outcome: 1},
                duration_s=time.monotonic() - sequence.submitted_s if outcome == "done" else 0.0,
                first_token_s=first_s if outcome == "done" else 0.0,
                reused_tokens=sequence.reused_tokens,
            )
            self._changed.notify_all()


def padded(count: int) -> int:
    """The number of rows that stands for ``count``: at most as many more as keep a pass about as long.

    One of 24 up to 512, so that what is compiled and kept for a size stays small, and is there already.
    """
    if count <= _PADDING:
        return 1 << (count - 1).bit_length() if count else 0
    step = _PADDING if count <= 8 * _PADDING else 2 * _PADDING
    return -(-count // step) * step


def _explained(error: BaseException) -> MmpipeError:
    """An instance for each sequence: one raised in many threads would collect their tracebacks."""
    if isinstance(error, ClosedError):
        return ClosedError(*error.args)
    if isinstance(error, MmpipeError):
        return error
    explained = StageError(f"The language model failed: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained
