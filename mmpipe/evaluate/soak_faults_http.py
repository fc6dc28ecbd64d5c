"""Faults below the application: connections that do nothing, requests that never end, bodies and headers that lie."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

from mmpipe.evaluate.soak_faults import Fault, Target
from mmpipe.evaluate.soak_wire import Raw

SUBTITLES = "/demo/subtitles"
#: Where a body is sent that is too large, or none that is wanted.
ROUTES = (
    SUBTITLES, "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload", "/login", "/demo/status",
    "/gradio_api/component_server", "/v1/live",
)  # fmt: skip
HUGE_BYTES = 6_000_000
_DRIP_S = 0.4
_AT_ONCE = 40
_JSON = {"Content-Type": "application/json"}
_FOREIGN = "https://attacker.example"
_ORIGINS: tuple[str | bytes, ...] = (
    "http://[::1",
    "http://[",
    "://",
    "http://[::1]]:x",
    b"http://\xff\xfe",
    "null,",
    "[",
)


async def half_open(target: Target) -> str:
    """The beginning of a request, and no more."""
    async with Raw(target.port, target.address) as raw:
        await raw.send(b"GET /demo/sta")
        return await raw.held(target.hold_s)


async def idle(target: Target) -> str:
    """A connection over which nothing comes."""
    async with Raw(target.port, target.address) as raw:
        return await raw.held(target.hold_s)


async def many_connections(target: Target) -> str:
    """Many connections of one address at once, half of them in the middle of a request."""
    address = target.address
    answers = []
    async with AsyncExitStack() as stack:
        raws = []
        for n in range(_AT_ONCE):
            try:
                raw = await stack.enter_async_context(Raw(target.port, address))
                await raw.send(b"GET / HTTP/1.1\r\nHost: 127" if n % 2 else b"")
            except OSError:
                answers.append("reset")
            else:
                raws.append(raw)
        answers += await asyncio.gather(*(raw.held(2.0) for raw in raws))
    return next((answer for answer in answers if answer != "left open"), "left open")


async def _drip(raw: Raw, data: bytes, for_s: float) -> str:
    """Send ``data`` byte by byte, for so long or until the server answers."""
    until_s = asyncio.get_running_loop().time() + for_s
    at = 0
    while asyncio.get_running_loop().time() < until_s:
        await raw.send(data[at % len(data) :][:1])
        at += 1
        found = await raw.answer(_DRIP_S)
        if found != "no answer":
            return found
    return "left open"


async def slow_headers(target: Target) -> str:
    """Headers that come byte by byte."""
    async with Raw(target.port, target.address) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        return await _drip(raw, b"X-A: b\r\n", target.hold_s)


async def slow_body(target: Target) -> str:
    """A body that comes byte by byte."""
    async with Raw(target.port, target.address) as raw:
        await raw.request("POST", target.rng.choice(ROUTES[:2]), {**_JSON, "Content-Length": "100000"})
        return await _drip(raw, b"[", target.hold_s)


async def huge_body(target: Target) -> str:
    """Megabytes where a few bytes are wanted: said in the headers, or in pieces that do not say how many come."""
    path, chunked = target.rng.choice(ROUTES), target.rng.random() < 0.5
    row = b'{"start_s": 0, "end_s": 1, "text": "x", "language": "en", "words": [], "translation": null, "target": null}'
    body = b'{"kind": "srt", "text": "both", "rows": [' + b",".join([row] * (HUGE_BYTES // len(row))) + b"]}"
    async with Raw(target.port, target.address) as raw:
        if not chunked:
            await raw.request("POST", path, _JSON, body)
        else:
            await raw.request("POST", path, {**_JSON, "Transfer-Encoding": "chunked"})
            for at in range(0, len(body), 65_536):
                piece = body[at : at + 65_536]
                if not await raw.send(b"%x\r\n%s\r\n" % (len(piece), piece)):
                    break
            await raw.send(b"0\r\n\r\n")
        return await raw.answer(30.0)


async def malformed_body(target: Target) -> str:
    """JSON that is none, is nested without end, or holds what nobody could mean."""
    nested = b"[" * 50_000 + b"]" * 50_000
    row = {"start_s": 1e308, "end_s": -1, "text": "\x00", "language": "\ud800", "words": None}
    bodies = (
        b"{", b"", b"\xff\xfe\x00", nested, b'{"rows": ' + nested + b"}", b'{"kind": "srt", "kind": "exe"}',
        json.dumps({"kind": "srt", "text": "both", "rows": [row]}).encode(), b"1e999999",
        b'{"fn_index": -1, "data": []}',
    )  # fmt: skip
    async with Raw(target.port, target.address) as raw:
        await raw.request("POST", target.rng.choice(ROUTES[:5]), _JSON, target.rng.choice(bodies))
        return await raw.answer(30.0)


async def malformed_request(target: Target) -> str:
    """Requests that are none."""
    head = b"Host: 127.0.0.1\r\n"
    requests = (
        b"GET / HTTP/9.9\r\n" + head + b"\r\n",
        b"TRACE / HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + head + b"\r\n",
        b"GET / HTTP/1.1\r\n" + head + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 100) for n in range(2_000)) + b"\r\n",
        b"POST /demo/subtitles HTTP/1.1\r\n" + head + b"Content-Length: -1\r\n\r\n",
        b"POST /demo/subtitles HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%00%ff/../../etc/passwd HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /gradio_api/file=/etc/hostname HTTP/1.1\r\n" + head + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 8,
    )
    async with Raw(target.port, target.address) as raw:
        await raw.send(target.rng.choice(requests))
        return await raw.answer(20.0)


async def foreign_host(target: Target) -> str:
    """A page whose name points at this machine."""
    path = target.rng.choice(("/", "/config", "/demo/status", "/gradio_api/info", "/demo/languages", "/health"))
    async with Raw(target.port, target.address) as raw:
        await raw.request("GET", path, {"Host": f"attacker.example:{target.port}"})
        return await raw.answer(30.0)


async def foreign_origin(target: Target) -> str:
    """A page of somewhere else: it opens the WebSocket, or sends to the routes."""
    async with Raw(target.port, target.address) as raw:
        if target.rng.random() < 0.5:
            return await raw.upgrade({"Origin": _FOREIGN})
        await raw.request("POST", target.rng.choice(ROUTES[:5]), {**_JSON, "Origin": _FOREIGN}, b"{}")
        return await raw.answer(30.0)


async def malformed_origin(target: Target) -> str:
    """An Origin that cannot be read."""
    origin = target.rng.choice(_ORIGINS)
    async with Raw(target.port, target.address) as raw:
        if target.rng.random() < 0.7:
            return await raw.upgrade({"Origin": origin})
        await raw.request("POST", SUBTITLES, {**_JSON, "Origin": origin}, b"{}")
        return await raw.answer(30.0)


FAULTS = (
    Fault("half-open connection", 10, half_open),
    Fault("idle connection", 10, idle),
    Fault("many connections at once", 45, many_connections),
    Fault("slow headers", 20, slow_headers),
    Fault("slow body", 20, slow_body),
    Fault("huge body", 30, huge_body),
    Fault("malformed body", 8, malformed_body),
    Fault("malformed request", 8, malformed_request),
    Fault("foreign Host", 8, foreign_host),
    Fault("foreign Origin", 8, foreign_origin),
    Fault("malformed Origin", 8, malformed_origin),
)
