"""One batcher for each engine, made when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def __init__(
        self,
        priority: Priority = Priority.BULK,
        options: Callable[[Stage[Any, Any]], BatchOptions] = lambda stage: BatchOptions(
            max_items=stage.max_items, max_cost=stage.max_cost
        ),
    ) -> None:
        """``options``: of the batcher of a stage; by default batches are as large as the stage takes."""
        self._priority, self._options = priority, options
        self._of: dict[int, tuple[Stage[Any, Any], Batcher[Any, Any]]] = {}
        self._lock = Lock()

    def of(self, stage: Stage[In, Out]) -> Batcher[In, Out]:
        """The batcher of ``stage``."""
        with self._lock:
            if id(stage) not in self._of:
                batcher = Batcher(stage, self._options(stage))
                self._of[id(stage)] = stage, batcher  # holding the stage keeps its id its own
            return self._of[id(stage)][1]

    def __call__(self, stage: Stage[In, Out], items: Sequence[In]) -> list[Out]:
        return self.of(stage).run(items, priority=self._priority)

    def at(self, priority: Priority) -> Self:
        """The same batchers, for callers of another ``priority``. Closing one closes both."""
        other = type(self)(priority, self._options)
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
