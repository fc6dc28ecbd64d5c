"""The server that a soak runs against: a process of its own, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.errors import MmpipeError
from mmpipe.extras import require

if TYPE_CHECKING:
    import httpx

HOST = "127.0.0.1"
#: From the start of the process until every model is loaded, on a machine that does other things besides.
READY_S = 300.0
#: For the process to end when it is told to.
STOP_S = 40.0
#: An answer to the question whether the server lives takes at most this long.
HEALTH_S = 10.0
_LOOK_S = 0.25
#: The first of these that is there says that the server lives.
_HEALTH_PATHS = ("/health", "/demo/status")


class SoakError(MmpipeError):
    """The soak cannot go on."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How the server is at one moment. None: it could not be told, because the process or the answer was not there."""

    at_s: float  # since the load began
    resident_mb: float | None  # of the process itself,
    children_mb: float  # and of its children
    children: int
    descriptors: int
    threads: int
    cpu_s: float  # used so far, by the process and its children of now
    health_s: float | None  # that the answer took which says that it lives
    log_mb: float
    disk_mb: float  # files that visitors sent, and what was made of them


def demo_command(port: int, max_sessions: int) -> list[str]:
    """The command that runs the demo application at ``port``."""
    return [sys.executable, "-m", "mmpipe", "demo", "--port", str(port), "--max-sessions", str(max_sessions)]


def free_port() -> int:
    with socket.create_server((HOST, 0)) as found:
        port: int = found.getsockname()[1]
        return port


class ServerProcess:
    """The server in a process of its own. A context manager.

    Args:
        command: gives the command for a port.
        folder: what keeps its log (``server.log``) and what visitors send.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], folder: Path) -> None:
        self._psutil = require("psutil", "eval", "Watching the server")
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = folder / "server.log"
        self._uploads = folder / "uploads"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._watched: Any = None
        self._health_path = ""

    def __enter__(self) -> ServerProcess:
        self._uploads.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"GRADIO_TEMP_DIR": str(self._uploads), "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self._command(self.port)),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the soak, which then ends the server
            )
        self._watched = self._psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def exit_status(self) -> int | None:
        """None: it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self) -> int:
        """End it as Ctrl-C does, and by force where that takes too long.

        Returns:
            Its exit status; negative: the signal that ended it.
        """
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    async def ready(self, http: httpx.AsyncClient) -> None:
        """Wait until every model is loaded.

        Raises:
            SoakError: the server has ended, or takes longer than :data:`READY_S`.
        """
        import httpx

        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s:
            if self.exit_status is not None:
                raise SoakError(f"The server ended with status {self.exit_status}: {self._last_words()}")
            try:
                status = (await http.get("/demo/status", timeout=HEALTH_S)).json()
            except (httpx.HTTPError, ValueError):
                status = {}
            if status.get("live") and all(model["state"] in ("ready", "failed") for model in status["models"]):
                await self._find_health(http)
                return
            await asyncio.sleep(_LOOK_S)
        raise SoakError(f"The server is not ready after {READY_S:g} s: {self._last_words()}")

    async def _find_health(self, http: httpx.AsyncClient) -> None:
        for path in _HEALTH_PATHS:
            if (await http.get(path)).is_success:
                self._health_path = path
                return
        raise SoakError(f"The server answers at none of {', '.join(_HEALTH_PATHS)}.")

    def _last_words(self) -> str:
        lines = self.log.read_text("utf-8", "replace").split("\n")
        return " / ".join(line.strip() for line in lines[-6:] if line.strip()) or "its log is empty"

    async def health_s(self, http: httpx.AsyncClient) -> float | None:
        """How long the server takes to say that it lives; None: it does not say so."""
        import httpx

        began_s = time.monotonic()
        try:
            answer = await http.get(self._health_path, timeout=HEALTH_S)
        except httpx.HTTPError:
            return None
        return time.monotonic() - began_s if answer.is_success else None

    async def sample(self, http: httpx.AsyncClient, at_s: float) -> Sample:
        """How the server is now. The process is looked at before it is asked anything."""
        seen = await asyncio.to_thread(self._look)
        return Sample(at_s=at_s, health_s=await self.health_s(http), **seen)

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "resident_mb": None, "children_mb": 0.0, "children": 0, "descriptors": 0, "threads": 0, "cpu_s": 0.0,
            "log_mb": self.log.stat().st_size / 1e6,
            "disk_mb": _size_mb(self._uploads),
        }  # fmt: skip
        try:
            with self._watched.oneshot():
                found["resident_mb"] = self._watched.memory_info().rss / 1e6
                found["descriptors"], found["threads"] = self._watched.num_fds(), self._watched.num_threads()
                found["cpu_s"] = sum(self._watched.cpu_times()[:2])
            children = self._watched.children(recursive=True)
        except self._psutil.Error:
            return found
        for child in children:
            try:
                found["children_mb"] += child.memory_info().rss / 1e6
                found["cpu_s"] += sum(child.cpu_times()[:2])
            except self._psutil.Error:  # it has just ended
                continue
            found["children"] += 1
        return found


def _size_mb(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except OSError:  # it was just removed
            continue
    return total / 1e6
