"""The demo as a visitor meets it: a process with real models, and Chromium with a real voice at its microphone."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from mmpipe.audio import media

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: From the start of the process until every model is loaded, on a machine that does other things besides.
READY_S = 300.0

#: What is said into the microphone of the browser: 4 s of the audio book.
SPOKEN = "librivox/sense_and_sensibility_0890.wav"


class DemoServer:
    """``mmpipe demo`` in a process of its own, which tests may stop and start again."""

    def __init__(self, *arguments: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        main = "import sys; from mmpipe.cli import main; sys.argv[0] = 'mmpipe'; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", main, "demo", "--port", str(self.port), *self._arguments],
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As Ctrl-C does; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=60)

    def wait_until(self, ready: Callable[[dict], bool]) -> None:
        """Until ``ready`` of what ``/demo/status`` says."""

        def status() -> dict:  # a connection each time: one that is kept may be closed on a machine that is busy
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=READY_S) as client:
                return client.get(f"{self.url}/demo/status").json()

        ready_within(READY_S, lambda: ready(status()))


def ready_within(seconds: float, ready: Callable[[], bool]) -> None:
    """Ask ``ready`` again and again; fail when it takes longer than ``seconds``."""
    until_s, pause = time.monotonic() + seconds, threading.Event()
    while not ready():
        assert time.monotonic() < until_s, f"not ready after {seconds:g} s"
        pause.wait(0.2)


@pytest.fixture(scope="session")
def server() -> Iterator[DemoServer]:
    """The page, all models loaded."""
    server = DemoServer()
    server.start()
    try:
        server.wait_until(
            lambda status: status["live"] and all(m["state"] in ("ready", "failed") for m in status["models"])
        )
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def demo_server() -> type[DemoServer]:
    """To run another server than the one that all share."""
    return DemoServer


@pytest.fixture(scope="session")
def spoken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium's microphone hears: two seconds of silence (a busy machine begins late), the clip, then silence."""
    audio = media.load(data / SPOKEN)
    samples = np.concatenate([np.zeros(32_000, np.float32), audio.samples, np.zeros(60 * 16_000, np.float32)])
    path = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def browser(spoken: Path) -> Iterator[Browser]:
    """Chromium, which hears :data:`SPOKEN` each time a page opens the microphone."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={spoken}%noloop",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: DemoServer) -> Iterator[Page]:
    """The page, open in a context of its own. A test fails if a script of it does, or if the browser complains of
    anything, as of what the page's own policy forbids."""
    context = browser.new_context(permissions=["microphone"], locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(server.url)
    page.get_by_role("heading", name="mmpipe").wait_for()
    yield page
    context.close()
    assert not problems
