"""Live sessions whose models come late: the server tries again, and the page goes on asking."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, Route, expect

from mmpipe.demo.live_tab import STATIC
from mmpipe.demo.models import DemoModels
from mmpipe.demo.service import LOAD_AGAIN_AFTER_S, LiveService
from mmpipe.errors import WeightsError
from mmpipe.pipelines.live import LiveModels

FAILED = "'whisper-base' cannot be fetched."


class LateModels(DemoModels):
    """They cannot be had the first times, for ``failures``; nor warmed up then, for ``cold``."""

    def __init__(self, failures: list[Exception], cold: list[Exception]) -> None:
        super().__init__()
        self._failures, self._cold = failures, cold

    @property
    def live(self) -> LiveModels:
        if self._failures:
            raise self._failures.pop(0)
        return cast("LiveModels", NoEngines(self._cold))


class NoEngines:
    """Models that do nothing, and are not warmed up the first times, for ``failures``."""

    stuck = False
    recognizer_stats = answers = None

    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    async def warmup(self, *_: object) -> None:
        if self._failures:
            raise self._failures.pop(0)


def test_models_that_come_after_failures_make_sessions_possible(caplog: pytest.LogCaptureFixture) -> None:
    waited: list[tuple[float, str | None]] = []

    async def pause(seconds: float) -> None:
        waited.append((seconds, service.failure))

    async def until_ready() -> None:
        task = asyncio.create_task(service.run())
        while service.manager is None and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    late = LateModels([WeightsError(FAILED), RuntimeError("out of luck")], [RuntimeError("out of memory")])
    service = LiveService(late, 1, pause)
    asyncio.run(asyncio.wait_for(until_ready(), 30))
    assert [seconds for seconds, _ in waited] == [LOAD_AGAIN_AFTER_S] * 3
    assert waited[0][1] == FAILED
    assert "warm-up failed" in str(waited[2][1])
    assert "RuntimeError" in caplog.text
    assert service.manager is not None
    assert service.manager.not_ready is None
    assert service.failure is None


def test_the_line_at_the_head_of_the_page_notices_that_the_models_came(browser: Browser) -> None:
    state: dict[str, Any] = {"live": False, "failure": FAILED, "models": [{"name": "Voice", "state": "failed"}]}
    files = {
        "/": ("text/html", "<main><p class='mm-status'></p></main>"),
        "/status.js": ("text/javascript", (STATIC / "status.js").read_text(encoding="utf-8")),
    }

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix("http://page.test")
        kind, body = files.get(path) or ("application/json", json.dumps(state))
        route.fulfill(content_type=kind, body=body)

    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.route("http://page.test/**", answer)
    page.goto("http://page.test/")
    page.evaluate(
        "async () => (await import('/status.js')).mount(document.querySelector('main'), new URL('/', location.href))"
    )
    line = page.locator(".mm-status")
    expect(line).to_have_text(FAILED)
    state.update(live=True, failure=None)
    page.clock.run_for(60_000)
    expect(line).to_have_text("Ready")
    context.close()
