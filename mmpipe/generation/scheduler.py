"""Which tokens are computed next: one pass of the language model after the other, for all rows together.

A pass computes the newest token of every row that is being answered, and a stretch of the prompts that are being read.
Requests join before a pass and leave after it, so nobody waits for anybody to finish (Orca, OSDI 2022). The stretch is
short while rows are being answered, so that a long prompt slows them a little and never stops them (Sarathi-Serve,
OSDI 2024).
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

from mmpipe.errors import BatcherClosedError, MmpipeError, QueueFullError, StageError
from mmpipe.generation.attention import Decoding, Packed, Reading, Trace
from mmpipe.generation.kv_cache import CacheShape, KVBlockPool, PromptCache, Slot
from mmpipe.generation.options import Attending, EngineOptions, EngineStats
from mmpipe.generation.prefixes import Prefix, PrefixCache
from mmpipe.generation.rows import GenerationRow, Row, ScoreRow, Stretch
from mmpipe.logs import without_text

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pass:
    """One forward pass as it is put together."""

    embeddings: list[Tensor] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parts: list[Decoding | Reading] = field(default_factory=list)
    keep: list[int] = field(default_factory=list)  # where logits are wanted
    stretches: list[tuple[Row, Stretch, slice]] = field(default_factory=list)  # with its part of ``keep``
    answering: list[tuple[GenerationRow, int]] = field(default_factory=list)  # with its place in ``keep``
    traces: dict[GenerationRow, Trace] = field(default_factory=dict)
    memories: list[tuple[Tensor, slice]] = field(default_factory=list)  # with the tokens that see it


class Scheduler:
    """The rows of an engine. ``step`` is for one thread; the rest may be called from any."""

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
        self._queue: deque[Row] = deque()
        self._stats = EngineStats()

        # Of the thread that steps.
        self._reading: list[Row] = []  # whose prompts are being read, the oldest first
        self._blocks = KVBlockPool(self._shape)
        self._answering: dict[Slot, GenerationRow] = {}
        self._prefixes = PrefixCache(options.prefix_cache_bytes)

    # --- called from any thread, with ``changed`` held ---

    @property
    def has_room(self) -> bool:
        return len(self._queue) < self._options.max_queue

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._reading or self._answering)

    def push(self, row: Row) -> None:
        self._queue.append(row)
        self.count(submitted=1, queued_max=max(0, len(self._queue) - self._stats.queued_max))
        self._changed.notify_all()

    def withdraw(self, row: GenerationRow) -> None:
        """Its stream was cancelled: a waiting row goes at once, another one after the pass that is being computed."""
        row.cancelled = True
        if row in self._queue:
            self._queue.remove(row)
            self._end(row, "cancelled")
            row.give_up()
        self._changed.notify_all()

    def stats(self) -> EngineStats:
        running = len(self._reading) + len(self._answering)
        return replace(self._stats, queued=len(self._queue), running=running)

    def count(self, **amounts: float) -> None:
        self._stats = self._stats.plus(**amounts)

    def queue_full_error(self) -> QueueFullError:
        rows, ended = self._options.max_rows, self._stats.done
        retry_after_s = len(self._queue) / 2 / rows * self._stats.duration_s / ended if ended else 1.0
        return QueueFullError(
            f"The generation engine's queue is full ({self._options.max_queue} requests). Try again in about "
            f"{retry_after_s:.2g} s, submit with block=True, or raise max_queue.",
            retry_after_s,
        )

    # --- called on the engine's thread ---

    @torch.inference_mode()
    def step(self) -> None:
        """One pass for all rows, after letting go of whoever was cancelled and letting in whoever there is room for."""
        try:
            self._sweep()
            self._admit()
            plan = self._plan()
            if plan.positions:
                began_s = time.monotonic()
                logits = self._forward(plan)
                with self._changed:
                    self.count(steps=1, row_steps=len(plan.answering), run_s=time.monotonic() - began_s)
                self._conclude(plan, logits)
        except BaseException as error:  # Rust's panics as well: nobody else would hear of them here
            logger.error("a pass of the language model failed: all its rows fail\n%s", without_text(error))
            self.fail_all(error, waiting=False)

    def fail_all(self, error: BaseException, *, waiting: bool = True) -> None:
        """End every row with ``error``; those that still wait too, if ``waiting``."""
        rows = [*self._reading, *self._answering.values()]
        with self._changed:
            if waiting:
                rows += self._queue
                self._queue.clear()
        self._reading = []
        self._answering.clear()
        self._blocks.clear()
        self._prefixes.clear()
        for row in rows:
            self._fail(row, error)

    def _sweep(self) -> None:
        """Let go of rows that were cancelled."""
        rows: list[Row] = [*self._reading, *self._answering.values()]
        for row in [row for row in rows if row.cancelled]:
            self._leave(row)
            self._end(row, "cancelled")
            row.give_up()

    def _admit(self) -> None:
        """Let in whoever came first, while there is room."""
        while True:
            with self._changed:
                rows = [*self._reading, *self._answering.values()]
                reserved = sum(row.reserved_tokens for row in rows)
                if not self._queue or len(rows) == self._options.max_rows:
                    return
                if rows and reserved + self._queue[0].reserved_tokens > self._options.cache_tokens:
                    return
                row = self._queue.popleft()
                self.count(wait_s=time.monotonic() - row.submitted_s)
                self._changed.notify_all()
            if not row.start():
                self._end(row, "cancelled")
                continue
            self._reading.append(row)  # before there is anything that may fail: nobody else would tell whoever waits
            row.embeddings = row.embeddings.to(self._shape.device, self._shape.dtype)
            known = self._prefixes.find(row.embeddings, row.memory)
            row.cache = PromptCache(self._shape, row.cache_tokens, known)
            row.reused_tokens = row.cache.length

    def _plan(self) -> _Pass:
        plan = _Pass()
        for block in self._blocks:
            rows = [self._answering[slot] for slot in block.slots]
            start = len(plan.positions)
            part = Decoding(block, start, self._shape.dtype)
            plan.parts.append(part)
            plan.embeddings.append(self._embed_ids([row.ids[-1] for row in rows]))
            for at, (row, slot) in enumerate(zip(rows, block.slots, strict=True), start=start):
                self._will_answer(plan, row, at)
                if row.request.trace_attention:
                    plan.traces[row] = Trace(at, block.data[:, :, slot.index, :, : slot.length + 1])
                if row.memory is not None:
                    plan.memories.append((row.memory, slice(at, at + 1)))
                plan.positions.append(row.position)
        for reader, most in self._share():
            self._add_stretch(plan, reader, reader.stretch(most))
        return plan

    def _share(self) -> Iterator[tuple[Row, int]]:
        """How much of which prompt to read: the shortest first, but half for the oldest, so that it gets done too."""
        if not self._reading:
            return
        options = self._options
        left = options.prefill_tokens if self._answering else options.idle_prefill_tokens
        oldest = self._reading[0]
        most = min(oldest.unread_tokens, max(left // 2, 1))
        others = sorted(self._reading[1:], key=lambda row: row.unread_tokens)
        given: list[tuple[Row, int]] = []
        for row in others:
            if left <= most:
                break
            part = min(row.unread_tokens, left - most)
            given.append((row, part))
            left -= part
        yield oldest, left
        yield from given

    def _add_stretch(self, plan: _Pass, row: Row, stretch: Stretch) -> None:
        assert row.cache is not None
        start = len(plan.positions)
        stop = start + len(stretch.positions)
        plan.parts.append(Reading(row.cache, start, stop, self._shape.dtype, stretch.sees))
        plan.embeddings.append(self._embed_ids(stretch.ids) if stretch.embeddings is None else stretch.embeddings)
        plan.positions += stretch.positions
        if row.memory is not None:
            plan.memories.append((row.memory, slice(start, stop)))
        kept = len(plan.keep)
        if isinstance(row, GenerationRow):
            if stretch.keep:
                self._will_answer(plan, row, stop - 1)
                if row.request.trace_attention:
                    plan.traces[row] = Trace(stop - 1, row.cache.data[..., : row.prompt_tokens, :])
        else:
            plan.keep += [start + at for at in stretch.keep]
        plan.stretches.append((row, stretch, slice(kept, len(plan.keep))))

    def _will_answer(self, plan: _Pass, row: GenerationRow, at: int) -> None:
        plan.answering.append((row, len(plan.keep)))
        plan.keep.append(at)

    def _embed_ids(self, ids: Sequence[int]) -> Tensor:
        embedded: Tensor = self._embed(torch.tensor(ids, device=self._shape.device))
        return embedded

    def _forward(self, plan: _Pass) -> Tensor:
        """Logits where they are wanted, float32 (kept, vocabulary)."""
        device = self._shape.device
        with self._seeing(plan):
            out = self._model(
                inputs_embeds=torch.cat(plan.embeddings)[None],
                position_ids=torch.tensor(plan.positions, device=device)[None],
                attention_mask=self._skip_mask,
                use_cache=False,
                logits_to_keep=torch.tensor(plan.keep, dtype=torch.long, device=device),
                packed=Packed(plan.parts, list(plan.traces.values())),
            )
        return out.logits[0].float()  # type: ignore[no-any-return]

    def _seeing(self, plan: _Pass) -> Any:
        """The strategy's context, in which tokens see the pictures of their own row."""
        if self._attending is None or not plan.memories:
            return nullcontext()
        device, dtype = self._shape.device, self._shape.dtype
        memory = torch.cat([memory.to(device, dtype) for memory, _ in plan.memories])
        sees = torch.zeros(1, len(plan.positions), len(memory), dtype=torch.bool, device=device)
        first = 0
        for own, tokens in plan.memories:
            sees[:, tokens, first : first + len(own)] = True
            first += len(own)
        return self._attending(memory, sees)

    def _conclude(self, plan: _Pass, logits: Tensor) -> None:
        for slot in self._answering:
            slot.length += 1
        read = 0
        for row, stretch, kept in plan.stretches:
            assert row.cache is not None
            row.cache.length += stretch.advance
            read += stretch.advance
            if isinstance(row, ScoreRow) and stretch.keep:
                row.take(logits[kept])
                if row.finished:
                    self._leave(row)
                    self._end(row, "done")
                    row.finish()
        with self._changed:
            self.count(prefilled_tokens=read, generated_tokens=len(plan.answering))
            step = self._stats.steps
        for row, token_id, logprob in self._choose(plan, logits):
            self._take(row, token_id, logprob, step, plan.traces.get(row))

    def _choose(self, plan: _Pass, logits: Tensor) -> Iterator[tuple[GenerationRow, int, float]]:
        """The next token of each row and its log probability."""
        if not plan.answering:
            return
        logits = logits[[at for _, at in plan.answering]]
        total = logits.logsumexp(-1).tolist()
        likeliest = logits.argmax(-1).tolist()
        for at, (row, _) in enumerate(plan.answering):
            token_id = likeliest[at]
            if not row.plain:
                try:
                    token_id = row.choose(logits[at].cpu().clone())
                except BaseException as error:
                    self._leave(row)
                    self._fail(row, error)
                    continue
            yield row, token_id, float(logits[at, token_id]) - total[at]

    def _take(self, row: GenerationRow, token_id: int, logprob: float, step: int, trace: Trace | None) -> None:
        try:
            finish = row.take(token_id, logprob, step, trace)
        except BaseException as error:  # of a grammar
            self._leave(row)
            self._fail(row, error)
            return
        if finish is not None:
            self._leave(row)
            self._end(row, "done")
            row.finish(finish)
        elif row.slot is None:
            assert row.cache is not None
            row.slot = self._blocks.add(row.cache, row.total_tokens)
            self._answering[row.slot] = row
            self._reading.remove(row)
            row.cache = None

    def _leave(self, row: Row) -> None:
        """Take ``row`` out, and keep what was computed for it."""
        if isinstance(row, GenerationRow) and row.slot is not None:
            said = self._embed_ids(row.ids[:-1]) if len(row.ids) > 1 else row.embeddings[:0]
            self._keep(row, torch.cat((row.embeddings, said))[: row.slot.length], row.slot.filled)
            self._blocks.remove(row.slot)
            del self._answering[row.slot]
        elif row in self._reading:
            assert row.cache is not None
            self._keep(row, row.embeddings[: row.cache.length], row.cache.filled)
            self._reading.remove(row)

    def _keep(self, row: Row, embeddings: Tensor, cache: Tensor) -> None:
        if self._options.prefix_cache_bytes and len(embeddings):
            self._prefixes.keep(Prefix(embeddings.clone(), row.memory, cache.clone()))

    def _fail(self, row: Row, error: BaseException) -> None:
        self._end(row, "failed")
        row.fail(_explained(error))

    def _end(self, row: Row, outcome: str) -> None:
        first_s = row.first_token_s if isinstance(row, GenerationRow) else 0.0
        with self._changed:
            self.count(
                **{outcome: 1},
                duration_s=time.monotonic() - row.submitted_s if outcome == "done" else 0.0,
                first_token_s=first_s if outcome == "done" else 0.0,
                reused_tokens=row.reused_tokens,
            )
            self._changed.notify_all()


def _explained(error: BaseException) -> MmpipeError:
    """An instance for each row: one raised in many threads would collect their tracebacks."""
    if isinstance(error, BatcherClosedError):
        return BatcherClosedError(*error.args)
    if isinstance(error, MmpipeError):
        return error
    explained = StageError(f"The language model failed: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained
