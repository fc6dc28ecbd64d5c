"""One batcher for each engine, made when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Self, TypeVar

from mmpipe.batching import Batcher, BatcherStats, BatchOptions, Priority
from mmpipe.stage import Stage

In = TypeVar("In")
Out = TypeVar("Out")


class Batchers:
    """Calls engines through their batchers, so that whoever calls at the same time shares a batch.

    An instance is itself the ``runner`` that :class:`~mmpipe.translate.TextTranslator` and
    :class:`~mmpipe.audio.synthesis.TextToSpeech` accept. Closing it closes the batchers it made, not the engines.
    """

    def __init__(self, priority: Priority = Priority.BULK) -> None:
        self._priority = priority
        self._of: dict[int, tuple[Stage[Any, Any], Batcher[Any, Any]]] = {}
        self._lock = Lock()

    def of(self, stage: Stage[In, Out], max_items: int | None = None) -> Batcher[In, Out]:
        """The batcher of ``stage``; ``max_items``, instead of the stage's own, counts when it is first asked for."""
        with self._lock:
            if id(stage) not in self._of:
                options = BatchOptions(max_items=max_items or stage.max_items, max_cost=stage.max_cost)
                self._of[id(stage)] = stage, Batcher(stage, options)  # holding the stage keeps its id its own
            return self._of[id(stage)][1]

    def __call__(self, stage: Stage[In, Out], items: Sequence[In]) -> list[Out]:
        return self.of(stage).run(items, priority=self._priority)

    def at(self, priority: Priority) -> Self:
        """The same batchers, for callers of another ``priority``. Closing one closes both."""
        other = type(self)(priority)
        other._of, other._lock = self._of, self._lock
        return other

    def stats(self) -> dict[str, BatcherStats]:
        """What each engine's batcher has done, by the name of the engine."""
        with self._lock:
            return {stage.name: batcher.stats for stage, batcher in self._of.values()}

    def close(self) -> None:
        with self._lock:
            batchers = [batcher for _, batcher in self._of.values()]
            self._of.clear()
        for batcher in batchers:
            batcher.close(drain=False)
