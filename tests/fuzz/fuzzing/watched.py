"""A server in a process of its own, of which everything that must not be is noticed."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from fuzzing import memory
from fuzzing.outcome import HANG_S, TOLERATED, Failure
from fuzzing.processes import environment

START_S = 100.0
#: What every request goes through.
_PLUMBING = re.compile(r"/mmpipe/serve/|/mmpipe/demo/access")
_TRANSPORT = re.compile(r"/(uvicorn|h11|httptools|websockets)/|/mmpipe/serve/protocols")


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
        yield from faults_in_log(log)

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


def faults_in_log(log: str) -> Iterator[Failure]:
    """What was logged as an error, and every traceback, with its first line or without."""
    text = re.sub(r"(?m)^[ +|-]*\| ?", "", log)  # as a group of exceptions is written
    seen = set()
    for record in re.split(r"(?m)^(?=(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) )", text):
        if record.startswith(("ERROR ", "CRITICAL ")) or '  File "' in record:
            failure = _failure(record)
            if failure.what not in seen:
                seen.add(failure.what)
                yield failure


def _failure(record: str) -> Failure:
    places = re.findall(r'  File "([^"]+)", line (\d+), in (\S+)', record)
    if not places:
        what = re.sub(r"\b[0-9a-f]{8,}\b|\d+", "#", record.split("\n", 1)[0])[:150]
        return Failure("internal error", f"logged: {what}", record[:800])
    page = next((n for n, (file, _, _) in enumerate(places) if "/gradio/" in file), len(places))
    beyond = [file for file, _, _ in places[page:]]
    # Gradio answers 500 to much that is malformed. What it has not handed on to mmpipe is no fault of mmpipe's.
    foreign = bool(beyond) and not any("/mmpipe/" in file and not _PLUMBING.search(file) for file in beyond)
    foreign &= not _TRANSPORT.search(places[-1][0])
    ours = [place for place in places if "/mmpipe/" in place[0] and not _PLUMBING.search(place[0])]
    file, line, name = (ours or places)[-1]
    errors = re.findall(r"(?m)^([A-Za-z_][\w.]*(?:Error|Exception|Disconnect|Group|Exit))\b", record)
    what = f"{errors[-1] if errors else '?'} in {Path(file).name}:{line} {name}"
    return Failure(TOLERATED if foreign else "internal error", f"a traceback: {what}", record[-2500:])
