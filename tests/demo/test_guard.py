"""What a stranger, a foreign page or somebody who guesses can do with the page: as good as nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from mmpipe.demo.app import MAX_PAGE_STATES, create_app
from mmpipe.demo.models import DemoModels
from mmpipe.demo.options import DemoOptions
from mmpipe.demo.storage import Storage
from mmpipe.errors import InputError
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.network import NetworkOptions

HERE, LIVE = "http://127.0.0.1:7860", "ws://127.0.0.1:7860"
AUTH = (("ana", "secret"),)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
#: Without a login: what asks for it, and Gradio's own files of which that consists.
OPEN = {
    ("GET", "/"),
    ("HEAD", "/"),
    ("POST", "/login"),
    ("POST", "/login/"),
    ("GET", "/assets/{path:path}"),
    ("GET", "/static/{path:path}"),
    ("GET", "/theme.css"),
    ("GET", "/favicon.ico"),
}


class NoModels(DemoModels):
    def warmup(self) -> None:
        pass

    @property
    def live(self) -> None:  # type: ignore[override]
        raise InputError("There are no models in this test.")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads go."""
    found = tmp_path / "gradio"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(found))
    return found


def made(audit: AuditLog | None = None, **options: Any) -> FastAPI:
    async def make() -> FastAPI:  # where no loop runs, Gradio makes some that it never closes
        return create_app(NoModels(), DemoOptions(**options), audit)

    return asyncio.run(make())


@pytest.fixture
def visit() -> Iterator[Callable[..., TestClient]]:
    """A visitor of a page with these options."""
    with ExitStack() as stack:

        def come(app: FastAPI | None = None, peer: str = "203.0.113.9", **options: Any) -> TestClient:
            visitor = TestClient(app or made(**options), base_url=HERE, client=(peer, 1), follow_redirects=False)
            if app is None:
                stack.enter_context(visitor)  # its server ends with the test
            else:
                stack.callback(visitor.close)
            return visitor

        yield come


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of everything that can be asked for, also of what is mounted."""
    for route in app.routes:
        if isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", prefix + route.path
        elif isinstance(route, Mount):
            if route.routes:
                yield from routes(route, prefix + route.path)
            else:
                yield "GET", f"{prefix}{route.path}/{{path:path}}"
        elif hasattr(route, "original_router"):  # how newer versions of FastAPI keep what was included
            for inner in route.original_router.routes:
                for method in inner.methods:
                    yield method, prefix + route.include_context.path_for(inner)
        else:
            for method in route.methods:
                yield method, prefix + route.path


def log_in(visitor: TestClient) -> None:
    assert visitor.post("/login", data={"username": "ana", "password": "secret"}).status_code == 200


def test_these_routes_are_open_without_a_login_and_no_other(visit: Callable[..., TestClient]) -> None:
    app = made(auth=AUTH)
    visitor = visit(app)
    known = sorted(set(routes(app)))
    assert len(known) > 60  # Gradio's, too
    opened = set()
    for method, path in known:
        asked = re.sub(r"\{[^}]*\}", "x", path)
        if method == "WEBSOCKET":
            with pytest.raises(WebSocketDisconnect) as refused, visitor.websocket_connect(LIVE + asked):
                pass
            assert getattr(refused.value, "status_code", None) == 401
        elif visitor.request(method, asked).status_code != 401:
            opened.add((method, path))
    assert opened == OPEN
    for path in (
        "/openapi.json",
        "/docs",
        "/metrics",
        "//demo/status",
        "/assets/../demo/status",
        "/demo/static/live.js",
    ):
        assert visitor.get(path).status_code in (401, 404), path
        assert visitor.get(path).text in ("Log in first.", '{"detail":"Not Found"}'), path


def test_who_logged_in_reaches_everything_and_the_log_knows_who(
    visit: Callable[..., TestClient], tmp_path: Path
) -> None:
    audit = AuditLog(tmp_path / "audit")
    visitor = visit(audit=audit, auth=AUTH)
    visitor.post("/login", data={"username": "ana", "password": "wrong"})
    log_in(visitor)
    for path in ("/", "/config", "/demo/status", "/demo/static/live.js"):
        assert visitor.get(path).status_code == 200, path
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["what"], line.get("who"), line["from"]) for line in lines] == [
        ("login.failed", None, "203.0.113.9"),
        ("login", "ana", "203.0.113.9"),
    ]


def test_a_token_that_was_made_up_is_no_login(visit: Callable[..., TestClient]) -> None:
    app = made(auth=AUTH)
    log_in(visit(app))
    (name,) = {name for name in visit(app).post("/login", data={"username": "ana", "password": "secret"}).cookies
               if "unsecure" in name}  # fmt: skip
    stranger = visit(app)
    for cookie in (f"{name}=guessed", f"{name}=", "access-token-=x"):
        assert stranger.get("/demo/status", headers={"Cookie": cookie}).status_code == 401


def test_a_body_is_not_read_before_the_login_nor_beyond_its_limit(visit: Callable[..., TestClient]) -> None:
    app = made(auth=AUTH)

    def body(size: int) -> Iterator[bytes]:  # without a Content-Length
        for _ in range(size // 100_000):
            yield b" " * 100_000

    stranger = visit(app)
    assert stranger.post("/demo/subtitles", content=b"[" * 1_000_000).status_code == 401
    assert stranger.post("/login", content=body(200_000), headers=FORM).status_code == 413
    visitor = visit(app)
    log_in(visitor)
    for path, limit in (("/demo/subtitles", 8_000_000), ("/gradio_api/queue/join", 1_000_000)):
        assert visitor.post(path, content=body(limit + 100_000)).status_code == 413, path
        assert visitor.post(path, content=b"x" * (limit + 1)).status_code == 413, path


def test_captions_that_are_none_are_refused_with_the_first_mistake_only(visit: Callable[..., TestClient]) -> None:
    rows = [{"no": "row"}] * 10_000
    answer = visit().post("/demo/subtitles", json={"kind": "srt", "text": "both", "rows": rows})
    assert answer.status_code == 422
    assert "rows.0" in answer.json()["detail"]
    assert len(answer.text) < 500


def test_guessing_a_password_takes_ever_longer(visit: Callable[..., TestClient]) -> None:
    app = made(auth=AUTH)
    visitor = visit(app)
    found = [visitor.post("/login", data={"username": "ana", "password": str(n)}) for n in range(20)]
    assert [answer.status_code for answer in found] == [400] * 6 + [429] * 14
    assert "Wait" in found[-1].text
    assert int(found[-1].headers["retry-after"]) >= 1
    refused = visitor.post("/login", data={"username": "ana", "password": "secret"})
    assert refused.status_code == 429
    log_in(visit(app, peer="203.0.113.10"))  # others are not locked out


def test_a_foreign_page_sends_nothing_and_reads_nothing(visit: Callable[..., TestClient], folder: Path) -> None:
    visitor = visit()
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "http://[::1"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ):
        for method, path in (
            ("POST", "/gradio_api/upload"),
            ("POST", "/gradio_api/queue/join"),
            ("POST", "/demo/subtitles"),
            ("GET", "/config"),
            ("GET", "/gradio_api/info"),
            ("OPTIONS", "/gradio_api/upload"),
        ):
            answer = visitor.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert "access-control-allow-origin" not in answer.headers
        with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(f"{LIVE}/v1/live", headers=headers):
            pass
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert visitor.get("/config", headers={"Origin": HERE}).status_code == 200


def test_a_page_for_others_is_found_by_address_and_by_names_it_was_given(visit: Callable[..., TestClient]) -> None:
    network = NetworkOptions(allowed_hosts=("box.lan",), trusted_proxies=("10.0.0.1",))
    visitor = visit(host="0.0.0.0", root_path="https://example.org/mmpipe", network=network)
    for host in ("192.168.1.5:7860", "box.lan:7860", "example.org", "localhost:7860"):
        own = {"Host": host, "Origin": f"http://{host}"}
        assert visitor.get("/demo/status", headers=own).status_code == 200, host
    stranger = visitor.get("/demo/status", headers={"Host": "evil.example"})
    assert (stranger.status_code, "--allowed-host" in stranger.text) == (403, True)
    through = {"Host": "127.0.0.1:7860", "Origin": "https://example.org"}  # a proxy that says nothing
    assert visitor.get("/demo/status", headers=through).status_code == 200


def test_an_address_of_a_proxy_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="is no address"):
        DemoOptions(root_path="https://exa mple/x")


def test_the_page_says_that_nothing_comes_from_elsewhere(visit: Callable[..., TestClient]) -> None:
    visitor = visit()
    for path in ("/", "/demo/status", "/nothing", "/assets/nothing.js"):
        policy = visitor.get(path).headers["content-security-policy"]
        for rule in ("default-src 'self'", "object-src 'none'", "base-uri 'self'", "frame-ancestors 'none'"):
            assert rule in policy
        assert "connect-src 'self' ws://127.0.0.1:7860 wss://127.0.0.1:7860" in policy


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"rows": [' + b"{}," * 2_500_000 + b"{}]}", 413),
        (b"[" * 7_000_000, 413),
        (b"[" * 150_000, 422),
        (b"1" * 1_000_000, 422),
        (b"\xff", 422),
        (b"", 422),
    ],
    ids=["objects", "lists", "deep", "number", "bytes", "nothing"],
)
def test_megabytes_of_brackets_do_not_become_gigabytes(
    visit: Callable[..., TestClient], body: bytes, status: int
) -> None:
    visitor = visit()
    tracemalloc.start()
    answer = visitor.post("/demo/subtitles", content=body)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == status
    assert len(answer.text) < 500
    assert peak_bytes < 60_000_000


# --- room ---


def upload(visitor: TestClient, size: int, name: str = "a.wav") -> Any:
    return visitor.post("/gradio_api/upload", files={"files": (name, os.urandom(size))})


def test_uploads_have_a_size_and_a_sum(visit: Callable[..., TestClient], folder: Path, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    visitor = visit(audit=audit, max_upload_mb=1, max_stored_mb=3)
    assert upload(visitor, 2**20).status_code == 200
    assert upload(visitor, 2**20 + 65_536).status_code == 413
    statuses = [upload(visitor, 900_000).status_code for _ in range(4)]
    assert statuses == [200, 200, 507, 507]
    assert "no room" in upload(visitor, 900_000).text
    for path in folder.rglob("a.wav"):  # long ago, and nobody uses them
        os.utime(path, (0, 0))
    assert upload(visitor, 900_000).status_code == 200
    audit.close()
    assert '"upload.refused"' in (tmp_path / "audit").read_text()


def test_room_is_made_by_what_nobody_uses_the_oldest_first(tmp_path: Path) -> None:
    used, in_folder = tmp_path / "used" / "a", tmp_path / "visitors-1" / "b"
    unused = [tmp_path / str(n) / "c" for n in range(4)]
    for path in (used, in_folder, *unused):
        path.parent.mkdir()
        path.write_bytes(b"x" * 1_000)
        os.utime(path, (0, 0))
    os.link(used, in_folder.with_name("claimed"))
    for n, path in enumerate(unused):
        os.utime(path, (1_000 - n, 1_000 - n))
    os.utime(unused[0], (time.time(), time.time()))  # just come

    async def room(size: int) -> bool:
        async with storage.room_for(size) as there_is:
            return there_is

    storage = Storage(tmp_path, 6_500)
    assert asyncio.run(room(1_500))
    assert [path.exists() for path in unused] == [True, True, True, False]
    assert not asyncio.run(room(4_000))
    assert [path.exists() for path in (used, in_folder, unused[0])] == [True, True, True]


def test_uploads_under_way_count(tmp_path: Path) -> None:
    storage = Storage(tmp_path, 1_000)

    async def at_once() -> list[bool]:
        async with storage.room_for(600) as first, storage.room_for(600) as second:
            pass
        async with storage.room_for(600) as third:
            return [first, second, third]

    assert asyncio.run(at_once()) == [True, False, True]


def test_jobs_wait_in_a_queue_that_ends(visit: Callable[..., TestClient]) -> None:
    app = made(max_queued=3)
    visitor = visit(app)
    page = next(route.app for route in app.routes if getattr(route, "path", None) == "")  # type: ignore[attr-defined]
    (number, *_) = [
        number for number, fn in page.get_blocks().fns.items() if fn.concurrency_id == "recordings" and fn.queue
    ]
    found = [
        visitor.post("/gradio_api/queue/join", json={"data": [None, "", "pt", True], "fn_index": number,
                                                     "session_hash": f"s{n}"})
        for n in range(5)
    ]  # fmt: skip
    assert [answer.status_code for answer in found] == [200] * 3 + [503] * 2
    assert "full" in found[-1].text


def test_limits_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(InputError, match="at least max_upload_mb"):
        DemoOptions(max_upload_mb=300, max_stored_mb=200)


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/reset"])
def test_what_was_sent_is_neither_sent_back_nor_a_reason_to_fail(visit: Callable[..., TestClient], path: str) -> None:
    """Half a character cannot be answered: the framework fails where it repeats it."""
    visitor = visit()
    visitor.headers["Content-Type"] = "application/json"
    for body in (b'{"\\ud800": "a secret"}', b'["\\ud800 a secret"]', b'"a secret \\udfff"', b"[" * 5_000, b"\xff"):
        answer = visitor.post(path, content=body)
        assert answer.status_code in (400, 404, 405, 422), (path, body[:20])
        assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/gradio_api/run/predict", {"fn_index": -1, "data": []}),
        ("/gradio_api/run/predict", {"fn_index": 10**30, "data": []}),
        ("/gradio_api/queue/join", {"fn_index": -1, "data": [], "session_hash": "a"}),
    ],
)
def test_a_function_that_does_not_exist_is_a_bad_request(
    visit: Callable[..., TestClient], path: str, body: dict[str, Any]
) -> None:
    answer = visit().post(path, json=body)
    assert answer.status_code in (400, 404)


def test_gradio_forgets_how_the_oldest_pages_stand() -> None:
    """85 kB for each session that anybody names; it would keep ten thousand of them."""
    (page,) = (route.app for route in made().routes if isinstance(route, Mount) and isinstance(route.app, FastAPI))
    states = page.state_holder  # type: ignore[attr-defined]
    for number in range(MAX_PAGE_STATES + 20):
        states[f"stranger {number}"]
    assert len(states.session_data) <= MAX_PAGE_STATES
    assert f"stranger {MAX_PAGE_STATES + 19}" in states
    assert "stranger 0" not in states
