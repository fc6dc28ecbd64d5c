"""Pictures of every tab of the demo, for docs/demo: desktop and phone, light and dark.

    python tools/screenshots.py docs/demo

Starts ``mmpipe demo`` on a free port and drives the system's Chromium, whose microphone hears a recording of
tests/data.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Event

import httpx
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from mmpipe.audio import media

DATA = Path(__file__).parents[1] / "tests/data"
SPOKEN = DATA / "sense_and_sensibility.flac"
MOST_BYTES = 60_000
SCREENS = {"desktop": (1280, 900), "phone": (390, 844)}
LATER_MS = 90_000


@contextmanager
def demo() -> Iterator[str]:
    """The address of a page whose models are loaded."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    main = "import sys; from mmpipe.cli import main; sys.argv[0] = 'mmpipe'; main()"
    process = subprocess.Popen([sys.executable, "-c", main, "demo", "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(url: str) -> None:
    pause = Event()
    transport = httpx.HTTPTransport(retries=10, limits=httpx.Limits(max_keepalive_connections=0))
    with httpx.Client(transport=transport, timeout=120) as client:
        while not all(
            model["state"] in ("ready", "failed") for model in client.get(f"{url}/demo/status").json()["models"]
        ):
            pause.wait(0.5)


def microphone(folder: Path) -> Path:
    """The recording as Chromium wants it."""
    samples = media.load(SPOKEN).samples
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


# --- what is to be seen in each tab ---


def live(page: Page) -> None:
    """A talk of some sentences, with one more under way."""
    page.get_by_role("button", name="Start").click()
    rows = page.locator("[data-part=rows] .mm-row")
    expect(rows.nth(3)).to_be_visible(timeout=LATER_MS)
    expect(page.locator("[data-part=open]")).not_to_be_empty(timeout=LATER_MS)
    expect(page.locator("[data-part=draft]")).not_to_be_empty(timeout=LATER_MS)


def recordings(page: Page) -> None:
    """An example, translated."""
    page.get_by_role("tab", name="Recordings").click()
    page.get_by_role("button", name="Audio book, English").click()
    page.get_by_role("button", name="Translate", exact=True).click()
    expect(
        page.get_by_role("link", name="SRT").or_(page.get_by_role("button", name="SRT")).filter(visible=True).first
    ).to_be_visible(timeout=LATER_MS)


def pictures(page: Page) -> None:
    """A question that was answered."""
    page.get_by_role("tab", name="Pictures").click()
    page.get_by_role("button", name="Koala").click()
    expect(page.locator(".pic-list img")).to_be_visible()
    page.get_by_role("button", name="What is this?").click()
    expect(page.locator("#pic-conversation")).to_contain_text("koala", timeout=LATER_MS)
    expect(page.locator("#pic-explain")).to_be_enabled()


def measure(page: Page) -> None:
    """The figures of the session before."""
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-part=status]")).to_contain_text("Finished", timeout=LATER_MS)
    page.get_by_role("tab", name="Measure").click()
    expect(page.get_by_role("region", name="Delays of the last sentences")).to_be_visible()
    expect(page.get_by_role("region", name="Models", exact=True)).to_be_visible()


TABS: dict[str, Callable[[Page], None]] = {
    "live": live,
    "recordings": recordings,
    "pictures": pictures,
    "measure": measure,
}


def show(page: Page, screen: str, colours: str) -> None:
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", colours == "dark")
    width_px, height_px = SCREENS[screen]
    for width in (width_px - 1, width_px):  # what is drawn on a canvas is drawn again
        page.set_viewport_size({"width": width, "height": height_px})
        page.wait_for_timeout(300)


def save(png: bytes, path: Path) -> None:
    """As WebP, as good as fits into :data:`MOST_BYTES`."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    for quality in range(90, 10, -10):
        out = BytesIO()
        picture.save(out, "WEBP", quality=quality, method=6)
        if len(out.getvalue()) <= MOST_BYTES:
            break
    path.write_bytes(out.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=TABS, action="append", help="these tabs; live goes before measure")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with demo() as url, tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone(Path(folder))}%noloop",
            ],
        )
        context = browser.new_context(permissions=["microphone"], locale="en-GB")
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.goto(url)
        for name in given.only or TABS:
            show(page, "desktop", "light")
            TABS[name](page)
            page.mouse.move(0, 0)
            for colours in ("light", "dark"):
                for screen in SCREENS:
                    show(page, screen, colours)
                    save(page.screenshot(full_page=True), given.folder / f"{name}-{screen}-{colours}.webp")
        browser.close()


if __name__ == "__main__":
    main()
