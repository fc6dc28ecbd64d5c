"""A clock that only tests move, and a stage that does what tests say. Nothing here sleeps.

Every wait for another thread has a time limit, which is only ever reached when a test fails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence

import pytest

from mmpipe.batching import Batcher, BatchOptions
from mmpipe.stage import Stage

PATIENCE_S = 20


class FakeClock:
    """Time stands still until ``advance``."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._changed = threading.Condition()
        self._conditions: set[threading.Condition] = set()
        self._waiting: set[int] = set()  # threads that began to wait since the last settle()

    def now_s(self) -> float:
        with self._changed:
            return self._now_s

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        me = threading.get_ident()
        with self._changed:
            if until_s <= self._now_s:
                return
            self._conditions.add(condition)
            self._waiting.add(me)
            self._changed.notify_all()
        assert condition.wait(PATIENCE_S), "nobody woke a waiting thread"

    def advance(self, by_s: float) -> None:
        with self._changed:
            self._now_s += by_s
        self._wake()

    def settle(self, threads: int = 1) -> None:
        """Return when ``threads`` threads have looked at everything done so far and gone back to waiting."""
        with self._changed:
            self._waiting.clear()
        self._wake()
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._waiting) >= threads, PATIENCE_S), "did not come to rest"

    def _wake(self) -> None:
        with self._changed:
            conditions = list(self._conditions)
        for condition in conditions:
            with condition:
                condition.notify_all()


class ScriptedStage(Stage[str, str]):
    """Answers "a" with "A". Remembers its batches; costs, groups and failures are set by the test."""

    name = "scripted"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.costs: dict[str, float] = {}
        self.groups: dict[str, Hashable] = {}
        self.compute: Callable[[Sequence[str]], object] = lambda items: [item.upper() for item in items]
        self.on_warmup: Callable[[], None] = lambda: None
        self.threads: set[str] = set()
        self.warmups = 0
        self.closed = 0
        self._held = False
        self._entered = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def cost(self, item: str) -> float:
        return self.costs.get(item, 1.0)

    def group(self, item: str) -> Hashable:
        return self.groups.get(item)

    def run(self, items: Sequence[str]) -> list[str]:
        self.threads.add(threading.current_thread().name)
        self.batches.append(list(items))
        if self._held:
            self._entered.release()
            assert self._go.acquire(timeout=PATIENCE_S), "the test left the stage held"
        return self.compute(items)  # type: ignore[return-value]

    def warmup(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.warmups += 1
        self.on_warmup()

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed += 1

    # --- for tests ---

    def hold(self) -> None:
        """Make every call wait for ``release``."""
        self._held = True

    def wait_for_call(self) -> None:
        assert self._entered.acquire(timeout=PATIENCE_S), "the stage was not called"

    def release(self) -> None:
        """Let calls run, the present one and all later ones."""
        self._held = False
        self._go.release()

    def step(self) -> None:
        """Let the present call run, and wait for the next."""
        self._go.release()
        self.wait_for_call()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stage() -> ScriptedStage:
    return ScriptedStage()


@pytest.fixture
def make(clock: FakeClock) -> Iterator[Callable[..., Batcher[str, str]]]:
    """Makes batchers on the fake clock, and closes them at the end."""
    made: list[tuple[object, Batcher[str, str]]] = []

    def make_batcher(stage: object, *, device=None, owns_stage=False, **options) -> Batcher[str, str]:
        batcher = Batcher(stage, BatchOptions(**options), device=device, owns_stage=owns_stage, clock=clock)
        made.append((stage, batcher))
        return batcher

    yield make_batcher
    for stage, batcher in made:
        if isinstance(stage, ScriptedStage):
            stage.release()
        batcher.close(drain=False)


@pytest.fixture
def busy(make, stage, clock) -> Callable[..., Batcher[str, str]]:
    """Makes a batcher whose model is computing the item "busy" until ``stage.release()``, so that items gather."""

    def make_busy(**options) -> Batcher[str, str]:
        options.setdefault("max_wait_s", 0)
        batcher = make(stage, **options)
        stage.hold()
        batcher.submit("busy")
        clock.advance(options["max_wait_s"])
        stage.wait_for_call()
        stage.batches.clear()
        return batcher

    return make_busy
