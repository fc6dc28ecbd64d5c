"""A server in a process of its own, of which everything that must not be is noticed."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from fuzzing import memory
from fuzzing.outcome import HANG_S, TOLERATED, Failure
from fuzzing.processes import environment

START_S = 100.0


class WatchedServer:
    """``kind``: what :mod:`fuzzing.fake_server` is told. Its log and what it leaves lie in ``folder``."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._log = folder / f"{kind}.log"
        self._read_to = 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "fuzzing.fake_server", kind],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(GRADIO_TEMP_DIR=str(folder / "gradio"), TMPDIR=str(folder)),
            )
        self._read_to = self._log.stat().st_size
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        self.port = int(told or 0)
        until_s = time.monotonic() + START_S
        while not (told and self._answers(START_S)):
            if not told or not self.alive or time.monotonic() > until_s:
                self.close()
                raise RuntimeError(f"the server does not begin:\n{self._log.read_text('utf-8', 'replace')[-3000:]}")
            time.sleep(0.05)
        memory.reset_peak(self._process.pid)
        self._idle_mb = psutil.Process(self._process.pid).memory_info().rss / 2**20

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def peak_mb(self) -> float:
        """Over what it had when it began."""
        return memory.peak_mb(self._process.pid) - self._idle_mb

    def connect(self) -> socket.socket:
        """A connection to it.

        Raises:
            OSError: it takes none.
        """
        made = socket.create_connection(("127.0.0.1", self.port), timeout=HANG_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def faults(self, memory_mb: float) -> Iterator[Failure]:
        """What is wrong with it now, or was since this was last asked."""
        began_s = time.monotonic()
        answers = self._answers(HANG_S)
        seconds = time.monotonic() - began_s
        log = self._news()
        if not self.alive:
            yield Failure("crash", f"{self.kind} ended with {self._process.returncode}", log[-1500:])
        elif not answers or seconds > HANG_S:
            yield Failure("hang", f"{self.kind} does not answer", f"{seconds:.1f} s\n{log[-1500:]}")
        elif self.peak_mb > memory_mb:
            yield Failure("memory", f"{self.kind}: over {memory_mb:g} MB", f"{self.peak_mb:.0f} MB")
        yield from _in_log(log)

    def _answers(self, timeout_s: float) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", "/health" if self.kind == "serve" else "/demo/status")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _news(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        self._read_to += len(new)
        return new.decode("utf-8", "replace")

    def close(self) -> None:
        """As Ctrl-C does, and then for certain."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _in_log(log: str) -> Iterator[Failure]:
    """A traceback, or a line of level ERROR."""
    lines = [re.sub(r"^[ +|-]*\| ?", "", line) for line in log.splitlines()]  # as a group of exceptions is written
    seen = set()
    for number, line in enumerate(lines):
        following = lines[number + 1 :]
        if "Traceback (most recent call last)" in line:
            end = next((n for n, text in enumerate(following) if re.match(r"[\w.]+(:|$)", text)), 0)
            failure = _traceback(following[: end + 1], "\n".join(lines[max(0, number - 1) : number + end + 2]))
        elif line.startswith(("ERROR ", "CRITICAL ")) and not (following and "Traceback" in following[0]):
            what = re.sub(r"\b[0-9a-f]{8,}\b|\d+", "#", line)[:150]
            failure = Failure("internal error", f"logged: {what}", line[:500])
        else:
            continue
        if failure.what not in seen:
            seen.add(failure.what)
            yield failure


def _traceback(lines: Sequence[str], text: str) -> Failure:
    places = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', "\n".join(lines))
    ours = [n for n, (file, _, _) in enumerate(places) if "/mmpipe/" in file]
    page = [n for n, (file, _, _) in enumerate(places) if "/gradio/" in file]
    # Gradio answers 500 to much that is malformed. What it has not handed on to mmpipe is no fault of mmpipe's.
    foreign = bool(page) and (not ours or ours[-1] < page[0])
    file, line, name = places[page[-1] if foreign else ours[-1] if ours else -1] if places else ("?", "?", "?")
    kind = re.split(r"[:(]", lines[-1], maxsplit=1)[0] if lines else "?"
    what = f"a traceback: {kind} in {Path(file).name}:{line} {name}"
    return Failure(TOLERATED if foreign else "internal error", what, text[-2500:])
