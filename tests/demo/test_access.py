"""Who may come in: by origin, by login, by address."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from typer.testing import CliRunner

from mmpipe.cli.app import app as cli
from mmpipe.demo.app import create_app, head
from mmpipe.demo.models import DemoModels
from mmpipe.demo.options import DemoOptions, read_auth
from mmpipe.demo.service import LOAD_AGAIN_AFTER_S
from mmpipe.errors import InputError

LIVE = "ws://127.0.0.1:7860/v1/live"


class ModelsThatNeverCome(DemoModels):
    def warmup(self) -> None:
        pass

    @property
    def live(self) -> None:  # type: ignore[override]
        raise InputError("There are no models in this test.")


def client(options: DemoOptions) -> TestClient:
    async def made() -> FastAPI:  # where no loop runs, Gradio makes some that it never closes
        return create_app(ModelsThatNeverCome(), options)

    return TestClient(asyncio.run(made()), base_url="http://127.0.0.1:7860")


def test_without_a_login_the_endpoints_are_closed_as_the_page_is() -> None:
    with client(DemoOptions(auth=(("ana", "secret"),))) as visitor:
        assert visitor.get("/config").status_code == 401
        for path in ("/demo/status", "/demo/languages", "/demo/figures"):
            assert visitor.get(path).status_code == 401, path
        assert visitor.post("/demo/subtitles", json={}).status_code == 401
        with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(LIVE):
            pass
        assert visitor.post("/login", data={"username": "ana", "password": "wrong"}).status_code == 400
        assert visitor.post("/login", data={"username": "ana", "password": "secret"}).status_code == 200
        assert visitor.get("/demo/status").status_code == 200
        with visitor.websocket_connect(LIVE) as socket_:
            assert socket_.receive_json()["code"] == "busy"


def test_the_page_is_up_while_the_models_are_not_and_says_why() -> None:
    with client(DemoOptions()) as visitor:
        assert visitor.get("/").status_code == 200
        status = visitor.get("/demo/status").json()
        assert (status["live"], status["failure"]) == (False, "There are no models in this test.")
        with visitor.websocket_connect(LIVE) as socket_:
            error = socket_.receive_json()
        assert (error["code"], error["text"]) == ("busy", "There are no models in this test.")
        assert error["retry_after_s"] == LOAD_AGAIN_AFTER_S


def test_the_page_is_up_before_any_model_was_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path))
    monkeypatch.setenv("MMPIPE_OFFLINE", "1")
    with client(DemoOptions()) as visitor:
        page = visitor.get("/")
        assert page.status_code == 200
        assert "Into Portuguese best from English (good)" in page.text
        answer = visitor.get("/demo/languages")
        assert answer.status_code == 503
        assert "MMPIPE_OFFLINE forbids fetching it" in answer.json()["detail"]


def test_a_proxy_finds_the_style_sheets_below_its_path() -> None:
    assert 'href="/demo/static/demo.css"' in head("")
    assert 'href="/mmpipe/demo/static/demo.css"' in head("/mmpipe/")


def test_auth_is_a_pair_or_a_file_of_pairs(tmp_path: Path) -> None:
    assert read_auth("ana:se:cret") == (("ana", "se:cret"),)
    file = tmp_path / "visitors"
    file.write_text("# who\nana:one\n\nbia:two\n")
    assert read_auth(str(file)) == (("ana", "one"), ("bia", "two"))
    for wrong in ("ana", ":x", "ana:"):
        with pytest.raises(InputError, match="user:password"):
            read_auth(wrong)
    file.write_text("# nobody\n")
    with pytest.raises(InputError, match="names nobody"):
        read_auth(str(file))


def test_passwords_do_not_show_in_what_is_logged() -> None:
    assert "secret" not in repr(DemoOptions(auth=(("ana", "secret"),)))


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli, ["demo", "--port", str(port)])
    assert result.exit_code == 1
    assert "Choose another port" in " ".join(result.output.split())


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = CliRunner().invoke(cli, ["demo", "--port", str(port)])
    assert result.exit_code == 1
    assert "pip install 'mmpipe[demo]'" in " ".join(result.output.split())


def test_a_port_that_cannot_be_is_refused() -> None:
    result = CliRunner().invoke(cli, ["demo", "--port", "70000"])
    assert result.exit_code == 2
    with pytest.raises(InputError, match="no port 70000"):
        DemoOptions(port=70_000)
