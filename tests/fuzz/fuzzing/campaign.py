"""Many cases over several worker processes. What takes a worker with it is a failure of the case it was at."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from fuzzing import decoding
from fuzzing.outcome import HANG_S, Failure, Outcome, Tally
from fuzzing.processes import environment
from fuzzing.worker import Order

MALLOC_DEBUG = Path("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")
#: From its start to its first case. Gradio alone takes five seconds.
START_S = 120.0
#: How often the memory of a worker's own children is looked at.
LOOK_EVERY_S = 0.25
#: A batch of conversations, made smaller as far as they can be when one of them fails.
BATCH_S = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """``count``: cases, or what ``unit`` says is counted. ``jobs``: worker processes at a time."""

    kind: str
    count: int
    seed: int = 1
    first: int = 0
    jobs: int = 2
    seconds: float = float("inf")
    in_process: bool = False
    memory_mb: float = 300.0
    unit: str = "cases"
    hang_s: float = HANG_S


def run(plan: Plan, report: Callable[[Tally], None] = lambda _: None, keep: Path | None = None) -> Tally:
    """Work ``plan`` off. ``report`` is called after each case, ``keep`` gets the files that failed."""
    tally, lock, until_s = Tally(), threading.Lock(), time.monotonic() + plan.seconds
    stop = threading.Event()

    def note(message: Outcome | float) -> None:
        with lock:
            if isinstance(message, float):
                tally.children_mb = max(tally.children_mb, message)
                return
            if plan.unit != "cases" and tally.counts[plan.unit] >= plan.count:
                stop.set()
                return
            tally.add(message)
            report(tally)

    with tempfile.TemporaryDirectory(prefix="mmpipe-seeds-") as folder:
        seeds = Path(folder)
        if plan.kind in decoding.KINDS:
            for name, content in decoding.build_seeds(plan.kind, seeds).items():
                (seeds / name).write_bytes(content)
        end = plan.first + plan.count
        base = Order(plan.kind, plan.seed, 0, plan.jobs, end, folder, plan.in_process, plan.memory_mb, plan.hang_s)
        with ThreadPoolExecutor(plan.jobs) as threads:
            lanes = [
                threads.submit(_lane, replace(base, first=plan.first + job), note, stop, until_s)
                for job in range(min(plan.jobs, plan.count))
            ]
            try:
                for lane in as_completed(lanes):
                    lane.result()
            except KeyboardInterrupt:  # what was found until now is told
                stop.set()
            except BaseException:
                stop.set()
                raise
        if keep is not None and plan.kind in decoding.KINDS:
            _keep(tally, base, keep)
    return tally


def _lane(order: Order, note: Callable[[Outcome | float], None], stop: threading.Event, until_s: float) -> None:
    """One worker after another, each from the case behind the one that ended the last."""
    while order.first < order.end and not stop.is_set() and time.monotonic() < until_s:
        worker = _Worker(order)
        try:
            for message in worker.messages(stop, until_s):
                if isinstance(message, Outcome):
                    order = replace(order, first=message.n + order.step)
                note(message)
        finally:
            worker.kill()


class _Worker:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._unmutated = len(decoding.read_seeds(order.seeds))
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed by kill)
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "fuzzing.worker", order.text()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # what it starts ends with it
            env=_environment(order),
        )

    def messages(self, stop: threading.Event, until_s: float) -> Iterator[Outcome | float]:
        """Outcomes, and now and then how many MB the largest process has that the worker has started. The last outcome
        is what ended it early."""
        out = self._process.stdout
        assert out is not None
        served = self._order.kind in ("protocol", "http")
        n, ready, pending = self._order.first, False, b""
        waiting_since_s = looked_s = time.monotonic()
        while not stop.is_set() and time.monotonic() < until_s:
            if time.monotonic() - looked_s > LOOK_EVERY_S:
                looked_s = time.monotonic()
                yield self._children_mb()
            limit_s = START_S if not ready else BATCH_S if served else self._limit_s(n)
            if not select.select([out], [], [], 0.2)[0]:
                if time.monotonic() - waiting_since_s > limit_s:
                    if not ready:
                        raise RuntimeError(f"a worker did not begin:\n{self._said()}")
                    what = f"{self._name(n)}: no answer in {limit_s:.0f} s"
                    yield Outcome(n, failures=(Failure("hang", what, self._said()[-1500:]),))
                    return
                continue
            chunk = os.read(out.fileno(), 1 << 16)
            waiting_since_s = time.monotonic()
            if not chunk:
                if code := self._process.wait():
                    if not ready or code == 1:  # Python's own word for an error that nobody caught
                        raise RuntimeError(f"a worker failed by itself:\n{self._said()}")
                    yield Outcome(n, failures=(self._crash(n, code),))
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in map(json.loads, lines):
                if "ready" in line:
                    ready = True
                else:
                    yield Outcome.read(line)
                    n = line["n"] + self._order.step

    def _limit_s(self, n: int) -> float:
        """For case ``n``: the first ones are decoded in every way."""
        return self._order.hang_s * (decoding.MOST_WAYS if n < self._unmutated else 1) + 1

    def _children_mb(self) -> float:
        largest = 0
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    largest = max(largest, child.memory_info().rss)
        return largest / 2**20

    def _name(self, n: int) -> str:
        """The file that case ``n`` was made of."""
        if self._order.kind not in decoding.KINDS:
            return f"batch {n}"
        return decoding.content_of(self._order.kind, self._order.seed, n, decoding.read_seeds(self._order.seeds))[0]

    def _crash(self, n: int, code: int) -> Failure:
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        said = self._said()
        frames = re.findall(r'File "(.+?)", line (\d+) in (\w+)', said)
        where = next((f"{Path(file).name}:{line} {name}" for file, line, name in frames), said.strip()[-200:])
        return Failure("crash", f"{name} in {where}", f"{self._name(n)}\n{said[-1500:]}")

    def _said(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")

    def kill(self) -> None:
        """It, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()


def _environment(order: Order) -> dict[str, str]:
    if order.in_process and MALLOC_DEBUG.exists():  # what is written past its end shows when it is freed
        return environment(LD_PRELOAD=str(MALLOC_DEBUG), GLIBC_TUNABLES="glibc.malloc.check=3")
    return environment()


def _keep(tally: Tally, base: Order, folder: Path) -> None:
    """Write the files that failed, made anew from their numbers."""
    if not tally.first:
        return
    folder.mkdir(parents=True, exist_ok=True)
    seeds = decoding.read_seeds(base.seeds)
    for n, failure in tally.first.values():
        name, content = decoding.content_of(base.kind, base.seed, n, seeds)
        (folder / f"{base.kind}-{failure.kind.replace(' ', '-')}-{base.seed}-{n}-{name}").write_bytes(content)
