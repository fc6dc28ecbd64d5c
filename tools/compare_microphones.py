"""Why the live tab has a WebSocket of its own: it beside a plain ``gr.Audio(streaming=True)``, in one browser.

    python tools/compare_microphones.py --rounds 5

Both pages hear the same clip from the same fake microphone of Chromium, on the same models in one process, and take
turns. Measured: from the moment the first word was said until a caption stands on the page; the same for the last
word; whether the words are right; the processor time of server and browser for twelve seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import statistics
import tempfile
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import psutil
import uvicorn
from playwright.sync_api import Page, sync_playwright

from mmpipe.audio import media
from mmpipe.cli.console import out
from mmpipe.demo.app import create_app
from mmpipe.demo.models import DemoModels
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.pipelines.live import CommittedEvent, LiveOptions, LiveSession, PartialEvent
from mmpipe.types import Audio

CLIP = Path(__file__).parents[1] / "tests/data/librivox/sense_and_sensibility_0890.wav"
LEAD_S = 1.0  # silence before the clip
FIRST_S, LAST_S = LEAD_S + 0.1, LEAD_S + 5.0  # where in the sound the first word begins and the last one ends
FIRST, LAST = "unless", "disposed"
SAID = "unless to be rather cold hearted and rather selfish is to be ill disposed"

#: Notes when the microphone began, and when the words first stood on the page.
WATCH = """() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (...wishes) => {
    const stream = await open(...wishes);
    window.began = performance.now();
    return stream;
  };
  const texts = () => [...document.querySelectorAll(".mm-source, textarea")].map((e) => e.value ?? e.textContent);
  const look = () => {
    const text = window.shown = texts().join(" ").toLowerCase();
    if (text.includes("%s")) window.first ??= performance.now();
    if (/%s\\W*$/.test(text.trim())) window.last ??= performance.now();
    requestAnimationFrame(look);
  };
  look();
}""" % (FIRST, LAST)  # noqa: UP031  (it is full of braces)


class Sketch:
    """What Gradio offers by itself, put to use in the plainest way."""

    def __init__(self, models: DemoModels) -> None:
        self._models = models
        self._session: LiveSession | None = None

    def page(self, every_s: float) -> gr.Blocks:
        with gr.Blocks() as page:
            microphone = gr.Audio(sources=["microphone"], streaming=True, type="numpy", label="Microphone")
            captions = gr.Textbox(label="Captions")
            microphone.stream(self.hear, [microphone], [captions], stream_every=every_s)
            page.load(self.forget)
        return page

    async def forget(self) -> None:
        if self._session is not None:
            await self._session.close()
        self._session, self._committed, self._tail = None, "", ""

    async def hear(self, sound: tuple[int, np.ndarray] | None) -> str:
        if self._session is None:
            self._session = LiveSession(self._models.live, LiveOptions(source="en"))
            self._reading = asyncio.create_task(self._read(self._session))
        if sound is not None:
            rate_hz, samples = sound
            mono = samples if samples.ndim == 1 else samples.mean(axis=1)
            audio = Audio((mono / 32768).astype(np.float32), rate_hz)
            self._session.push(media.resample(audio, 16_000).samples)
        return f"{self._committed} {self._tail}"

    async def _read(self, session: LiveSession) -> None:
        async for event in session.events():
            if isinstance(event, CommittedEvent):
                self._committed, self._tail = f"{self._committed} {event.text}", ""
            elif isinstance(event, PartialEvent):
                self._tail = event.text


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def microphone(folder: Path) -> Path:
    samples = media.load(CLIP).samples
    silence = np.zeros(16_000, np.float32)
    sound = np.concatenate([np.zeros(int(LEAD_S * 16_000), np.float32), samples, *[silence] * 60])
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def cpu_s(process: psutil.Process) -> float:
    total = 0.0
    for found in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = found.cpu_times()
            total += times.user + times.system
    return total


def session(page: Page, url: str, begin: str) -> dict[str, float]:
    """One session on the page at ``url``; ``begin``: the name of the button that starts it."""
    page.goto(url)
    if page.get_by_label("Translate into").count():
        page.get_by_label("Translate into").select_option("")  # captions, like the sketch
    page.evaluate(WATCH)
    me = psutil.Process()
    chromium = next(child for child in me.children(recursive=True) if "chrom" in child.name())
    server_s, browser_s = me.cpu_times(), cpu_s(chromium)
    page.get_by_role("button", name=begin).first.click()
    page.wait_for_function("performance.now() - window.began > 12_000", timeout=60_000)
    after = me.cpu_times()
    marks = page.evaluate("[window.first, window.last, window.began, window.shown]")
    first, last, began = (float(mark or "inf") / 1000 for mark in marks[:3])
    return {
        "first caption s": first - began - FIRST_S,
        "last word s": last - began - LAST_S,
        "word error rate": word_error_rate([SAID], [marks[3]], "en"),
        "server CPU s": after.user + after.system - server_s.user - server_s.system,
        "browser CPU s": cpu_s(chromium) - browser_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    chromium = shutil.which("chromium") or "chromium"
    found: dict[str, list[dict[str, float]]] = {}
    with DemoModels() as models, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        models.warmup = lambda: None  # type: ignore[method-assign]  # pictures are not measured
        assert models.live
        pages = {"WebSocket": (stack.enter_context(served(create_app(models))), "Start")}
        for every_s in (0.1, 0.5):
            app = gr.mount_gradio_app(create_blank(), Sketch(models).page(every_s), path="/", ssr_mode=False)
            pages[f"gr.Audio, every {every_s} s"] = (stack.enter_context(served(app)), "Record")
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone(Path(folder))}%noloop",
            ],
        )
        for _ in range(rounds + 1):  # the first round is thrown away
            for name, (url, begin) in pages.items():
                context = browser.new_context(permissions=["microphone"])
                found.setdefault(name, []).append(session(context.new_page(), url, begin))
                out.print(name, found[name][-1], highlight=False)
                context.close()
        browser.close()
    for name, measured in found.items():
        medians = {what: statistics.median(one[what] for one in measured[1:]) for what in measured[0]}
        out.print(f"{name:24}", "  ".join(f"{what} {value:.2f}" for what, value in medians.items()))


def create_blank() -> Any:
    from fastapi import FastAPI

    return FastAPI()


if __name__ == "__main__":
    main()
