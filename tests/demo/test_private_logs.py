"""What visitors of the page say and choose is written down nowhere, nor is it printed by Gradio."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mmpipe.demo import DemoOptions, run
from mmpipe.demo.errors import UNEXPECTED, gradio_without_text, told
from mmpipe.errors import InputError
from mmpipe.logs import private_logs

SECRET = "xylotomy"


def test_an_unexpected_error_is_logged_without_what_it_says(written: Any) -> None:
    assert told(ValueError(SECRET)) == UNEXPECTED
    assert told(InputError(SECRET)) == SECRET
    assert "ValueError" in written.text
    assert SECRET not in written.text


@pytest.fixture
def page() -> FastAPI:
    """A page of Gradio's whose handlers fail."""

    def fail(said: str) -> str:
        raise RuntimeError(f"cannot do {said!r}")

    async def made() -> FastAPI:  # where no loop runs, Gradio makes some that it never closes
        with gr.Blocks() as blocks:
            field = gr.Textbox()
            field.submit(fail, field, field, api_name="queued")
            field.change(fail, field, field, api_name="direct", queue=False)
        return gr.mount_gradio_app(FastAPI(), blocks, path="/")

    return asyncio.run(made())


def directly(client: TestClient) -> str:
    return client.post("/gradio_api/run/direct", json={"data": [SECRET]}).text


def queued(client: TestClient) -> str:
    wanted = {"data": [SECRET], "fn_index": 0, "session_hash": "one"}
    assert client.post("/gradio_api/queue/join", json=wanted).status_code == 200
    return client.get("/gradio_api/queue/data", params={"session_hash": "one"}).text


@pytest.mark.parametrize("way", [directly, queued])
def test_gradio_does_not_print_what_a_handler_raised(
    way: Callable[[TestClient], str], page: FastAPI, written: Any
) -> None:
    with private_logs(), gradio_without_text(), TestClient(page) as client:
        assert "error" in way(client)
    assert "a handler of the page failed" in written.text
    assert "RuntimeError" in written.text
    assert SECRET not in written.text


def test_the_page_is_served_with_logs_without_text(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def run(self, sockets: object) -> None:
            try:
                raise ValueError(SECRET)
            except ValueError:
                logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
            assert gr.queueing.traceback.print_exc is not __import__("traceback").print_exc

    monkeypatch.setattr("mmpipe.serve.web_server.WebServer", lambda *_, **__: Failing())
    monkeypatch.setattr("mmpipe.demo.app.create_app", MagicMock())
    before = signal.getsignal(signal.SIGTERM)
    run(DemoOptions(port=0))
    assert signal.getsignal(signal.SIGTERM) == before
    assert "ValueError" in written.text
    assert SECRET not in written.text
