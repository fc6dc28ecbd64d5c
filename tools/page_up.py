"""From the command ``mmpipe demo`` until the page is there, until it can be used, until the models are loaded.

    python tools/page_up.py
    python tools/page_up.py --starts 10 --browser . ../before

Every start is a fresh process of the command. Of several checkouts of the project each is started in turn, so that
they meet the same disturbances. All times in seconds after the command was started:

page     the whole answer to ``GET /`` has come, to a program that asks from the beginning, every 50 ms

With ``--browser`` a Chromium that is open already asks instead, and works on the same cores:

page     as above
says     the page stands there, and says that the models are warming up
start    the button Start of the live tab can be pressed; what is said is kept
live     the models of the live tab are loaded: what is said is translated
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import httpx
from playwright.sync_api import Page, sync_playwright

from mmpipe.cli.console import out

EVERY_S = 0.05
LATER_MS = 120_000
#: When the whole answer had come, in seconds of the epoch.
ANSWERED = """async () => {
  const [navigation] = performance.getEntriesByType("navigation");
  while (!navigation.responseEnd) await new Promise((done) => setTimeout(done, 5));
  return (performance.timeOrigin + navigation.responseEnd) / 1000;
}"""


@contextmanager
def started(checkout: Path) -> Iterator[tuple[str, float]]:
    """``mmpipe demo`` of ``checkout``: its address, and when it was started, in seconds of the epoch."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mmpipe")), "demo", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    began_s = time.time()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", began_s
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def asked_by_program(url: str, began_s: float) -> dict[str, float]:
    _get(url)
    return {"page": time.time() - began_s}


def asked_by_browser(page: Page, url: str, began_s: float) -> dict[str, float]:
    port = int(url.rpartition(":")[2])
    pause = Event()
    while not _listens(port):  # it takes its address first, and answers later
        pause.wait(EVERY_S)
    page.set_default_timeout(LATER_MS)
    page.goto(url, wait_until="commit")
    times = {"page": page.evaluate(ANSWERED) - began_s}
    page.locator(".mm-status", has_text="Warming up").wait_for()
    times["says"] = time.time() - began_s
    page.locator("[data-part=start]:enabled").wait_for()
    times["start"] = time.time() - began_s
    while not _get(f"{url}/demo/status").json()["live"]:
        pause.wait(EVERY_S)
    times["live"] = time.time() - began_s
    page.close()
    return times


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str) -> httpx.Response:
    """As soon as there is an answer."""
    pause, until_s = Event(), time.monotonic() + LATER_MS / 1000
    while True:
        try:
            return httpx.get(url, timeout=LATER_MS / 1000, trust_env=False).raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > until_s:
                raise
            pause.wait(EVERY_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", type=Path, nargs="*", default=[Path(__file__).parents[1]])
    parser.add_argument("--starts", type=int, default=10, help="of each checkout")
    parser.add_argument("--browser", action="store_true", help="look with Chromium")
    given = parser.parse_args()
    found: dict[Path, list[dict[str, float]]] = {checkout.resolve(): [] for checkout in given.checkouts}
    with ExitStack() as stack:
        if given.browser:
            playwright = stack.enter_context(sync_playwright())
            path = shutil.which("chromium")
            browser = stack.enter_context(playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]))
        for _ in range(given.starts):
            for checkout, times in found.items():
                look = partial(asked_by_browser, browser.new_page()) if given.browser else asked_by_program
                with started(checkout) as (url, began_s):
                    times.append(look(url, began_s))
                out.print(checkout, _row(times[-1]), f"load {os.getloadavg()[0]:.2f}", markup=False)
    for checkout, times in found.items():
        for name, statistic in (("median", statistics.median), ("most", max)):
            out.print(checkout, name, _row({what: statistic([one[what] for one in times]) for what in times[0]}))


def _row(times: dict[str, float]) -> str:
    return "  ".join(f"{what} {seconds:.2f}" for what, seconds in times.items())


if __name__ == "__main__":
    main()
