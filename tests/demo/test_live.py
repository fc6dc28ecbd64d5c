"""The live tab, by the ears and eyes of a visitor: Chromium's microphone hears a real recording."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate

MOST_ERRORS = 0.10
SOON_MS = 40_000
#: Words that no other language here writes so, of those that a translation of what is said needs.
PORTUGUESE = {"que", "seja", "bastante", "e", "é", "ser", "egoísta", "menos"}

#: Notes the loudest sample of all that reaches the loudspeaker.
LISTEN = """() => {
window.loudest = 0;
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode) {
    const analyser = new AnalyserNode(to.context, { fftSize: 4096 });
    connect.call(this, analyser);
    const samples = new Float32Array(analyser.fftSize);
    setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      window.loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), window.loudest);
    }, 20);
  }
  return connect.call(this, to, ...more);
};
}"""


@pytest.fixture
def said(librivox: list[Clip]) -> str:
    """What is said into the microphone."""
    return next(clip.text for clip in librivox if clip.path.name.endswith("0890.wav"))


def start(page: Page, *switches: str) -> None:
    for name in switches:
        page.get_by_label(name).check()
    page.get_by_role("button", name="Start").click()
    expect(status(page)).to_contain_text("Listening", timeout=SOON_MS)


def stop(page: Page) -> None:
    page.get_by_role("button", name="Stop").click()
    expect(status(page)).to_contain_text("Finished", timeout=SOON_MS)


def status(page: Page) -> Any:
    return page.locator("[data-part=status]")


def texts(page: Page, column: str) -> list[str]:
    """What stands in a column of the finished rows: "source" or "target"."""
    return page.locator(f"[data-part=rows] .mm-{column}").all_inner_texts()


def wait_for_last_word(page: Page, said: str) -> None:
    """Until the last word that is said was committed."""
    last = re.compile(rf"{said.rsplit(maxsplit=1)[-1]}\W*$", re.IGNORECASE)
    expect(page.locator(".mm-live .mm-source").filter(has_text=last).first).to_be_visible(timeout=SOON_MS)


def grave(page: Page) -> list[str]:
    """What keeps people out of the page as it is now."""
    return [found["id"] for found in Axe().run(page)["violations"] if found["impact"] in ("serious", "critical")]


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(download.value.path()).read_bytes()


def sound(data: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768, file.getframerate()


def test_what_is_said_is_written_translated_spoken_and_kept(page: Page, said: str) -> None:
    page.evaluate(LISTEN)
    start(page, "Speak the translation", "I wear headphones")
    wait_for_last_word(page, said)
    expect(page.locator("[data-part=lag-text]")).to_have_text(re.compile(r"^\d+\.\d s$"))
    stop(page)
    page.wait_for_function("window.loudest > 0.05", timeout=SOON_MS)  # silence stays at 0

    assert not grave(page)
    source, target = texts(page, "source"), texts(page, "target")
    assert word_error_rate([said], [" ".join(source)], "en") <= MOST_ERRORS
    assert len(PORTUGUESE & set(" ".join(target).lower().split())) >= 3

    rows = json.loads(downloaded(page, "JSON"))
    assert [row["source"]["text"] for row in rows] == source
    assert [row["translation"]["text"] for row in rows] == target
    cues = downloaded(page, "SRT").decode()
    flat = " ".join(line for line in cues.splitlines() if line and "-->" not in line and not line.isdigit())
    for text in (*source, *target):
        assert set(text.split()) <= set(flat.split())
    page.locator("[data-part=text]").select_option("translation")
    only = downloaded(page, "WebVTT").decode()
    assert only.startswith("WEBVTT")
    assert source[0].split()[0] not in only.split()

    heard, rate_hz = sound(downloaded(page, "My voice (WAV)"))
    assert rate_hz == 16_000
    assert np.abs(heard).max() > 0.05
    assert len(heard) / rate_hz >= rows[-1]["source"]["end_s"]
    spoken, rate_hz = sound(downloaded(page, "Spoken translation (WAV)"))
    assert np.abs(spoken).max() > 0.05
    assert len(spoken) / rate_hz > 1

    page.get_by_role("tab", name="Measure").click()
    measured = page.get_by_role("region", name="Delays of the last sentences").locator("tbody tr").first
    expect(measured).to_be_visible()
    assert re.findall(r"\d+\.\d+ s", measured.inner_text())
    assert not grave(page)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_visitors_who_speak_at_the_same_time_see_their_own_words(
    page: Page, browser: Browser, server: Any, said: str
) -> None:
    other_context = browser.new_context(permissions=["microphone"], locale="en-GB")
    other = other_context.new_page()
    other.goto(server.url)
    other.get_by_label("Translate into").select_option("")  # captions only
    start(page)
    start(other)
    for visitor in (page, other):
        wait_for_last_word(visitor, said)
    stop(page)
    stop(other)
    assert word_error_rate([said] * 2, [" ".join(texts(p, "source")) for p in (page, other)], "en") <= MOST_ERRORS
    assert "".join(texts(page, "target")).strip()
    assert not "".join(texts(other, "target")).strip()
    other_context.close()


def test_a_session_goes_on_after_the_connection_was_lost(page: Page, said: str) -> None:
    lines: list[WebSocketRoute] = []

    def through(line: WebSocketRoute) -> None:
        line.connect_to_server()
        lines.append(line)

    page.route_web_socket(re.compile("/v1/live"), through)
    start(page)
    expect(page.locator("[data-part=tail]")).not_to_be_empty(timeout=SOON_MS)
    lines[0].close(code=4408)  # a network that is lost gives 1006, which nobody may send
    expect(status(page)).to_contain_text("nothing was lost", timeout=SOON_MS)
    wait_for_last_word(page, said)
    stop(page)
    assert len(lines) == 2
    assert word_error_rate([said], [" ".join(texts(page, "source"))], "en") <= MOST_ERRORS


def test_a_pause_finishes_what_was_said_and_hears_nothing(page: Page) -> None:
    start(page)
    expect(page.locator("[data-part=tail]")).not_to_be_empty(timeout=SOON_MS)
    page.get_by_role("button", name="Pause").click()
    expect(status(page)).to_contain_text("Paused")
    expect(page.locator("[data-part=now]")).to_be_hidden(timeout=SOON_MS)  # all of it became rows
    shown, clock = texts(page, "source"), page.locator("[data-part=clock]").inner_text()
    page.wait_for_timeout(1_500)  # something could be heard now
    assert (texts(page, "source"), page.locator("[data-part=clock]").inner_text()) == (shown, clock)
    page.get_by_role("button", name="Go on").click()
    expect(status(page)).to_contain_text("Listening")
    stop(page)


def test_a_page_without_a_microphone_says_what_to_do(browser: Browser, server: Any) -> None:
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); }"
    )
    page.goto(server.url)
    page.get_by_role("button", name="Start").click()
    expect(status(page)).to_contain_text("Allow it beside the address")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    context.close()


@pytest.fixture
def mortal(browser: Browser, demo_server: Callable[[], Any]) -> Iterator[tuple[Any, Page]]:
    """A server that may be killed, and a page on it."""
    server = demo_server()
    context = browser.new_context(permissions=["microphone"], locale="en-GB")
    server.start()
    try:
        server.wait_until(lambda state: state["live"])
        page = context.new_page()
        page.goto(server.url)
        yield server, page
    finally:
        context.close()
        server.stop()


def test_the_page_outlives_its_server(mortal: tuple[Any, Page], said: str) -> None:
    server, page = mortal
    start(page)
    wait_for_last_word(page, said)
    expect(page.locator("[data-part=rows] .mm-source").first).to_be_visible(timeout=SOON_MS)
    shown = texts(page, "source")
    server.kill()
    expect(status(page)).to_contain_text("The server cannot be reached", timeout=SOON_MS)
    assert texts(page, "source") == shown
    server.start()
    server.wait_until(lambda state: state["live"])
    expect(status(page)).to_contain_text("does not know this session any more", timeout=SOON_MS)
    assert texts(page, "source")[: len(shown)] == shown
    start(page)
    wait_for_last_word(page, said)
    stop(page)
