"""The process behind the page."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import pytest

from mmpipe.demo.models import DemoModels
from mmpipe.demo.options import DemoOptions
from mmpipe.demo.server import _nothing_is_garbage, run
from mmpipe.errors import InputError
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.web_server import WebServer


def test_garbage_is_left_only_while_the_page_is_built() -> None:
    collected = []
    with pytest.raises(ZeroDivisionError), _nothing_is_garbage():
        collected.append(gc.isenabled())
        1 / 0  # noqa: B018
    collected.append(gc.isenabled())
    assert collected == [False, True]
    gc.unfreeze()  # what the tests made until now


def test_the_page_takes_messages_as_large_as_the_server_does_and_keeps_files_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def look(server: WebServer, _: object) -> None:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        found.extend((server.config.ws_max_size, folder, folder.stat().st_mode & 0o077))

    monkeypatch.setattr(WebServer, "run", look)
    monkeypatch.setattr("mmpipe.demo.server.signal.signal", lambda *_: None)  # that of the tests stays
    monkeypatch.setattr(DemoModels, "warmup", lambda _: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "given"))
    said: list[str] = []

    async def serve() -> None:  # where no loop runs, Gradio makes some that it never closes
        run(DemoOptions(port=0), said.append)

    asyncio.run(serve())
    gc.unfreeze()
    size, folder, others = found
    assert size == ServeOptions().max_message_bytes
    assert others == 0  # of this user alone
    assert folder.parent == tmp_path / "given"
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "given")
    assert said[0].startswith("The page is at http://127.0.0.1:")


def test_the_tunnel_and_a_certificate_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NetworkOptions, "tls", True)
    with pytest.raises(InputError, match="--share has a certificate"):
        DemoOptions(share=True)
