"""One batcher for each engine, made when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from mmpipe.batching import Batcher
from mmpipe.stage import Stage

In = TypeVar("In")
Out = TypeVar("Out")


class Batchers:
    """Calls engines through their batchers, so that whoever calls at the same time shares a batch.

    An instance is itself the ``runner`` that :class:`~mmpipe.translate.TextTranslator` and
    :class:`~mmpipe.audio.synthesis.Speaker` accept. Closing it closes the batchers it made, and the engines with them
    when it owns them.
    """

    def __init__(self) -> None:
        self._of: dict[int, Batcher[Any, Any]] = {}
        self._lock = Lock()
        self._closed = False

    def of(self, stage: Stage[In, Out]) -> Batcher[In, Out]:
        with self._lock:
            if id(stage) not in self._of:
                self._of[id(stage)] = Batcher(stage)
            return self._of[id(stage)]

    def __call__(self, stage: Stage[In, Out], items: Sequence[In]) -> list[Out]:
        return self.of(stage).run(items)

    def close(self) -> None:
        with self._lock:
            batchers, self._of = list(self._of.values()), {}
        for batcher in batchers:
            batcher.close(drain=False)


Runner = Callable[[Stage[In, Out], Sequence[In]], list[Out]]
