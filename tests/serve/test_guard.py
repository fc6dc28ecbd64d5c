"""What stands in front of every route: who is asked for, who asks, how much they send, what browsers are told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute
from starlette.websockets import WebSocketDisconnect

from mmpipe.serve.audit import AuditLog
from mmpipe.serve.guard import Guard, GuardedApp
from mmpipe.serve.hosts import Hosts
from mmpipe.serve.network import NetworkOptions

HERE = "http://127.0.0.1:8765"


def guarded(
    audit: AuditLog | None = None, host: str = "127.0.0.1", names: tuple[str, ...] = (), **limits: Any
) -> FastAPI:
    """An application that says what it was told."""
    network = NetworkOptions(allowed_hosts=names, **limits)
    hosts = Hosts(host, names)
    app = GuardedApp(guard=lambda inner: Guard(inner, network, hosts, body_limits={"/large": 5_000}, audit=audit))

    @app.post("/{path}")
    async def parsed(path: str, request: Request) -> Any:
        body = await request.body()
        app.state.parsed.append(len(body))
        return len(body)

    @app.get("/seen")
    async def seen(request: Request) -> Any:
        return {"url": str(request.url), "client": request.client and request.client.host, **request.headers}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("broken")

    app.state.parsed = []
    return app


def client(app: FastAPI, base_url: str = HERE, peer: str = "203.0.113.9") -> TestClient:
    return TestClient(app, base_url=base_url, client=(peer, 1), raise_server_exceptions=False)


def test_a_page_whose_name_was_pointed_here_reaches_nothing() -> None:
    visitor = client(guarded(), "http://evil.example:8765")
    for answer in (visitor.get("/seen"), visitor.post("/x", content=b"x"), visitor.get("/nothing")):
        assert answer.status_code == 403
        assert "--allowed-host" in answer.text
        assert "evil.example:8765" in answer.text
    assert client(guarded(names=("evil.example",)), "http://evil.example:8765").get("/seen").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://[::1", "null"])
def test_a_foreign_or_malformed_origin_is_refused_not_an_error(method: str, origin: str) -> None:
    assert client(guarded()).request(method, "/seen", headers={"Origin": origin}).status_code == 403


def test_two_hosts_are_refused_and_none_is_a_program() -> None:
    async def asked(*hosts: bytes) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/seen", "query_string": b"", "root_path": "",
                 "headers": [(b"host", host) for host in hosts], "server": ("127.0.0.1", 1)}  # fmt: skip
        await guarded()(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(asked(b"localhost", b"localhost")) == 403
    assert asyncio.run(asked()) == 200


def test_what_a_proxy_says_is_believed_of_a_proxy_only() -> None:
    told = {"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
    app = guarded(names=("example.org",), trusted_proxies=("10.0.0.0/8",))
    believed = client(app, peer="10.1.2.3").get("/seen", headers=told | {"Origin": "https://example.org"}).json()
    assert (believed["client"], believed["url"][:5]) == ("198.51.100.7", "https")
    ignored = client(app).get("/seen", headers=told | {"X-Gradio-Server": "http://evil.example"}).json()
    assert (ignored["client"], ignored["url"][:5]) == ("203.0.113.9", "http:")
    assert not [name for name in ignored if name.startswith(("x-forwarded", "x-gradio"))]
    assert client(app).get("/seen", headers=told | {"Origin": "https://example.org"}).status_code == 403
    other = told | {"X-Forwarded-Host": "evil.example"}
    assert client(app, peer="10.1.2.3").get("/seen", headers=other).status_code == 403


def stream(size: int) -> Iterator[bytes]:
    """Without a Content-Length."""
    for _ in range(size // 500):
        yield b"x" * 500


def test_a_body_is_refused_by_its_length_or_by_what_came_and_never_parsed() -> None:
    app = guarded(max_body_bytes=1_000)
    visitor = client(app)
    assert visitor.post("/small", content=b"x" * 1_000).json() == 1_000
    assert visitor.post("/large", content=stream(5_000)).json() == 5_000
    app.state.parsed.clear()
    for path, body in (("/small", b"x" * 1_001), ("/small", stream(1_500)), ("/large", stream(5_500))):
        answer = visitor.post(path, content=body)
        assert answer.status_code == 413
        assert "at most" in answer.text
    assert not app.state.parsed


def test_a_body_without_an_end_is_not_read_to_the_end() -> None:
    app, given = guarded(max_body_bytes=10_000), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1_000
            yield b"x" * 1_000

    async def send() -> int:
        # httpx would read the generator first
        body, sent = endless(), []

        async def receive() -> Any:
            return {"type": "http.request", "body": await anext(body), "more_body": True}

        async def keep(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "root_path": "", "headers": []}
        await app(scope, receive, keep)
        return int(sent[0]["status"])

    assert asyncio.run(asyncio.wait_for(send(), 10)) == 413
    assert given == 11_000


def test_who_breaks_off_a_body_is_no_error_of_the_server() -> None:
    app, came = guarded(), iter([{"type": "http.request", "body": b"x" * 10, "more_body": True}])

    async def receive() -> Any:
        return next(came, {"type": "http.disconnect"})

    async def unread(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "root_path": "", "headers": []}
    asyncio.run(app(scope, receive, unread))  # an exception here would be hundred lines in the server's log
    assert not app.state.parsed


@pytest.mark.parametrize("path", ["/seen", "/nothing", "/broken"])
def test_every_answer_tells_browsers_what_not_to_allow(path: str) -> None:
    for answer in (client(guarded()).get(path), client(guarded(), "http://evil.example").get(path)):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_refusals_are_noted_with_why_and_a_flood_of_them_is_counted(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit")
    visitor = client(guarded(audit, max_body_bytes=10))
    for _ in range(50):
        visitor.get("/seen", headers={"Host": "evil.example"})
    visitor.get("/seen", headers={"Origin": "https://evil.example"})
    visitor.post("/x", content=b"x" * 11)
    visitor.get("/seen")
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert {(line["what"], line["from"]) for line in lines} == {("connection.refused", "203.0.113.9")}
    counts = Counter()
    for line in lines:
        counts[line["why"]] += line.get("more", 1)
    assert counts == {"host": 50, "origin": 1, "too large": 1}
    assert len(lines) < 10


# --- mmpipe serve ---

#: What everybody may ask for where the server has keys.
OPEN = {"/health": 200, "/ready": 200}


def paths(routes: list[BaseRoute]) -> set[str]:
    return {getattr(route, "path") for route in routes}  # noqa: B009  (not all kinds have one)


def test_these_routes_of_the_server_are_open_and_no_other(rig: Any) -> None:
    app, _ = rig.app(api_keys=frozenset({"secret"}))
    assert paths(app.routes) == {"/health", "/ready", "/metrics", "/v1/live"}
    visitor = client(app)
    for path in (*paths(app.routes), "/openapi.json", "/docs", "/redoc", "/"):
        answer = visitor.get(path)
        if path in OPEN:
            assert answer.status_code == OPEN[path], path
        else:
            assert answer.status_code in (401, 404), path
            assert "mmpipe" not in answer.text


def test_metrics_want_a_key_where_there_are_keys_and_guessing_takes_time(rig: Any) -> None:
    app, _ = rig.app(api_keys=frozenset({"secret"}))
    visitor = client(app)
    good = {"Authorization": "Bearer secret"}
    assert visitor.get("/metrics", headers=good).status_code == 200
    assert visitor.get("/metrics").status_code == 401
    statuses = [visitor.get("/metrics", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(20)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(visitor.get("/metrics", headers=good).headers["retry-after"]) >= 1
    assert client(app, peer="203.0.113.10").get("/metrics", headers=good).status_code == 200
    assert client(rig.app()[0]).get("/metrics").status_code == 200


def test_a_foreign_page_does_not_reach_the_live_socket_by_name_or_origin(rig: Any) -> None:
    app, _ = rig.app()
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "http://[::1"}):
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            client(app).websocket_connect("ws://127.0.0.1:8765/v1/live", headers=headers),
        ):
            pass
        assert getattr(refused.value, "status_code", None) == 403  # an answer to the request, not a close frame


def test_a_foreign_page_is_refused_also_where_no_answer_can_be_given(rig: Any, settle: Callable[..., Any]) -> None:
    async def talk() -> None:
        wire = rig.wire(rig.app()[0], {"Host": "evil.example"}, extensions={})
        assert await wire.hear() is None
        assert wire.closed_with == 4403

    asyncio.run(talk())
