"""A soak: the real server under a real load for as long as one likes, with hostile clients at it all the time.

It needs the extras ``eval`` and ``demo``.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmpipe.errors import InputError
from mmpipe.evaluate.latency import Spread
from mmpipe.evaluate.live_bench import long_recording
from mmpipe.evaluate.soak_faults import Fault, Target, all_faults, chance, inject, storm
from mmpipe.evaluate.soak_load import Load, LoadPace
from mmpipe.evaluate.soak_material import HOSTILE_SOUND_S, Material, hostile_files
from mmpipe.evaluate.soak_page import find_functions
from mmpipe.evaluate.soak_report import POOLED_DESCRIPTORS, POOLED_THREADS
from mmpipe.evaluate.soak_result import Soak, commit_delays
from mmpipe.evaluate.soak_server import Sample, ServerProcess, SoakError, demo_command
from mmpipe.extras import require
from mmpipe.files import writing

if TYPE_CHECKING:
    import httpx

#: An error in the server's log, and what an interpreter that fails prints beside it.
_ERROR = re.compile(r"^(?:ERROR|CRITICAL|Traceback)\b", re.MULTILINE)
#: What counts as the warm-up of a long run, and of a short one the share of it.
WARMUP_S, WARMUP_SHARE = 300.0, 0.3
#: What runs once before anything is measured, so that every pool is as full as it gets.
_PRIMING_QUESTIONS, _PRIMING_RECORDINGS, _PRIMING_S = 8, 2, 10.0
#: Connections that were kept alive end within this, and idle threads of pools that shrink.
_QUIET_S = 12.0
#: For what is still going on when the load ends; then it is cut off.
_FINISH_S = 150.0
_LOOK_S = 5.0

Told = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """How long, how much, how hostile.

    Raises:
        InputError: nothing would be measured.
    """

    minutes: float = 60.0
    sessions: int = 8
    voices: int = 1  # of the sessions, those that also want the translation spoken
    session_s: float = 180.0
    recording_every_s: float = 60.0  # from one's beginning to the next; 0: none
    question_every_s: float = 8.0  # 0: none
    faults: bool = True
    #: What the server may take for everything to be gone that visitors left: they may come back for five minutes.
    settle_s: float = 420.0
    sample_every_s: float = 10.0
    hold_s: float = 15.0  # that a hostile client holds a connection
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.sessions < 1:
            raise InputError("A soak wants some time and at least one session.")

    @property
    def length_s(self) -> float:
        return 60 * self.minutes

    @property
    def warmup_s(self) -> float:
        return min(WARMUP_S, WARMUP_SHARE * self.length_s)

    @property
    def max_sessions(self) -> int:
        """Of the server: the honest ones, and those that hostile clients begin and leave."""
        return 2 * self.sessions + 16


def demo_server(options: SoakOptions) -> Callable[[int], Sequence[str]]:
    """The command that runs the demo application, for a port."""
    return lambda port: demo_command(port, options.max_sessions)


def soak(
    options: SoakOptions,
    material: Material,
    folder: Path,
    *,
    command: Callable[[int], Sequence[str]] | None = None,
    faults: Sequence[Fault] | None = None,
    tell: Told = lambda at_s, text: None,
) -> Soak:
    """Run the server, load it, attack it, and look at it.

    Args:
        options: how long, how much, how hostile.
        material: what is said and asked; see :func:`~mmpipe.evaluate.soak_material.prepare`.
        folder: keeps the server's log, the events of each session, and what visitors send.
        command: runs the server at a port; None: the demo application.
        faults: what is injected; None: everything there is.
        tell: told about once a second how far it is, in seconds of the load, and how things stand.

    Returns:
        What was measured. Where it was interrupted by Ctrl-C, what was measured until then.

    Raises:
        SoakError: the server does not start.
        MissingDependencyError: an extra is not installed.
    """
    require("httpx", "demo", "A soak")
    result = Soak(asdict(options), options.warmup_s)
    with ServerProcess(command or demo_server(options), folder) as server:
        chosen = (all_faults() if faults is None else tuple(faults)) if options.faults else ()
        run = _Run(options, material, folder, server, result, chosen, tell)
        asyncio.run(run.all())
        status = server.stop()
        if status not in (0, 130) and not result.crashed:
            result.crashed = f"it ended with status {status}"
    result.log_errors = len(_ERROR.findall(server.log.read_text("utf-8", "replace")))
    return result


class _Run:
    """One soak, once."""

    def __init__(
        self,
        options: SoakOptions,
        material: Material,
        folder: Path,
        server: ServerProcess,
        result: Soak,
        faults: Sequence[Fault],
        tell: Told,
    ) -> None:
        self._options, self._material, self._folder, self._server = options, material, folder, server
        self._result, self._faults, self._tell = result, faults, tell

    async def all(self) -> None:
        import httpx

        limits = httpx.Limits(max_keepalive_connections=0)  # a connection of its own would be counted
        try:
            async with httpx.AsyncClient(base_url=self._server.url, limits=limits, timeout=60) as http:
                await self._whole(http)
        except asyncio.CancelledError:  # Ctrl-C: what was measured is kept
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            self._result.interrupted = True

    async def _whole(self, http: httpx.AsyncClient) -> None:
        options, result = self._options, self._result
        self._tell(0.0, "the server is starting")
        await self._server.ready(http)
        functions = find_functions((await http.get("/config")).json())
        files = await asyncio.to_thread(hostile_files, self._material, self._folder)
        target = Target(self._server.port, functions, files, chance(options.seed), options.hold_s)
        pace = LoadPace(
            options.sessions, options.voices, options.session_s, options.recording_every_s, options.question_every_s
        )

        def load(length_s: float, into: Soak) -> Load:
            return Load(
                self._server.port, functions, self._material, pace, length_s, into, self._folder, options.seed
            )  # fmt: skip

        self._tell(0.0, "everything is done once")
        await self._prime(load, target)
        await asyncio.sleep(_QUIET_S)
        result.idle_before = await self._idle(http)
        await self._loaded(load(options.length_s, result), target, http)
        if not result.crashed:
            await self._settle(http)

    async def _prime(self, load: Callable[[float, Soak], Load], target: Target) -> None:
        """Every kind of work, several at once, and every kind of fault; none of it is measured."""
        unmeasured = Soak({}, 0.0)
        honest = load(_PRIMING_S, unmeasured)
        audio, _ = long_recording(self._material.spoken, HOSTILE_SOUND_S)
        once = Target(target.port, target.functions, target.files, target.rng, hold_s=2.0, beats=False)
        work = [honest.run(), *(inject(fault, once, unmeasured.tally) for fault in self._faults)]
        if self._options.question_every_s:
            work += [honest.question() for _ in range(_PRIMING_QUESTIONS)]
        if self._options.recording_every_s:
            work += [honest.recording(audio, speak=n == 0, beats=False) for n in range(_PRIMING_RECORDINGS)]
        for failure in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise SoakError(f"The server does not do what visitors want even once: {failure!r}") from failure

    async def _loaded(self, load: Load, target: Target, http: httpx.AsyncClient) -> None:
        """The load and the faults, for as long as it was to be, or until the server has ended."""
        honest = asyncio.create_task(load.run())
        hostile = asyncio.create_task(storm(self._faults, target, self._result.tally))
        watching = asyncio.create_task(self._watch(load, http))
        try:
            await asyncio.wait([honest, watching], timeout=self._options.length_s, return_when=asyncio.FIRST_COMPLETED)
            hostile.cancel()
            load.stop()
            if not watching.done():
                await asyncio.wait([honest, watching], timeout=_FINISH_S, return_when=asyncio.FIRST_COMPLETED)
            if honest.done():
                honest.result()
        finally:
            self._result.load_s = min(load.at_s, self._options.length_s)
            for task in (honest, hostile, watching):
                task.cancel()
            await asyncio.gather(honest, hostile, watching, return_exceptions=True)

    async def _watch(self, load: Load, http: httpx.AsyncClient) -> None:
        """Look at the server again and again. Ends when it has ended."""
        due_s = 0.0
        while self._server.exit_status is None:
            if load.at_s >= due_s and load.at_s <= self._options.length_s:
                self._result.samples.append(await self._server.sample(http, load.at_s))
                due_s += self._options.sample_every_s
            self._tell(load.at_s, self._standing(load))
            await asyncio.sleep(min(1.0, self._options.sample_every_s))
        self._result.crashed = f"it ended by itself with status {self._server.exit_status}"

    def _standing(self, load: Load) -> str:
        result = self._result
        last = result.samples[-1] if result.samples else None
        delays = Spread.of([delay_s for _, delay_s in commit_delays(result.sessions)])
        parts = [
            f"{load.live} live",
            f"{len(result.sessions)} done",
            f"p95 {delays.p95_s:.1f} s" if delays else "",
            f"{last.resident_mb:.0f} MB" if last and last.resident_mb else "",
            f"{len(result.recordings.took_s)} recordings",
            f"{len(result.questions.took_s)} questions",
            f"{result.tally.injected} faults",
        ]
        failed = len(result.recordings.failures) + len(result.questions.failures) + result.tally.internal_errors
        failed += sum(bool(session.heard.failure) for session in result.sessions)
        return ", ".join(part for part in (*parts, f"{failed} failed" if failed else "") if part)

    async def _settle(self, http: httpx.AsyncClient) -> None:
        """Wait until nothing is left of what visitors did, for as long as is allowed."""
        loop = asyncio.get_running_loop()
        began_s, result = loop.time(), self._result
        before = result.idle_before
        assert before is not None
        await asyncio.sleep(min(_QUIET_S, self._options.settle_s))
        while True:
            waited_s = loop.time() - began_s
            result.idle_after = now = await self._idle(http)
            descriptors, threads = now.descriptors - before.descriptors, now.threads - before.threads
            if descriptors <= POOLED_DESCRIPTORS and threads <= POOLED_THREADS:
                result.idle_after_s = waited_s
                return
            if waited_s >= self._options.settle_s or self._server.exit_status is not None:
                return
            self._tell(self._options.length_s, f"idle for {waited_s:.0f} s, {now.threads} threads")
            await asyncio.sleep(_LOOK_S)

    async def _idle(self, http: httpx.AsyncClient) -> Sample:
        """A sample after threads that have nothing to do were let go: their pool looks only when it is used."""
        with suppress(Exception):
            await http.get("/demo/languages")
            await asyncio.sleep(0.5)
        return await self._server.sample(http, -1.0)


def save(path: Path, found: object) -> None:
    """Write JSON.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path):
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
