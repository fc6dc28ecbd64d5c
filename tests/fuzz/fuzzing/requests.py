"""What clients could send to a server over HTTP, as strategies of hypothesis: bytes, some of them well formed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fuzzing.conversations import texts_of_any_kind, values

MAX_REQUESTS = 3

_PATHS = (
    "/", "/health", "/ready", "/metrics", "/openapi.json", "/v1/live", "/config", "/theme.css", "/login", "/logout",
    "/demo/status", "/demo/languages", "/demo/figures", "/demo/subtitles", "/demo/static/live.css",
    "/demo/static/../app.py", "/static/%2e%2e/%2e%2e/x", "/assets/x", "/svelte/x", "/favicon.ico", "/robots.txt",
    "/monitoring", "/monitoring/summary", "/manifest.json", "/pwa_icon/9", "/gradio_api/info", "/gradio_api/user",
    "/gradio_api/token", "/gradio_api/app_id", "/gradio_api/login_check", "/gradio_api/startup-events",
    "/gradio_api/deep_link", "/gradio_api/runs", "/gradio_api/queue/status", "/gradio_api/queue/join",
    "/gradio_api/queue/data", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x", "/gradio_api/reset",
    "/gradio_api/cancel", "/gradio_api/component_server", "/gradio_api/upload", "/gradio_api/upload?upload_id=x",
    "/gradio_api/upload_progress?upload_id=x", "/gradio_api/process_recording", "/gradio_api/vibe-edit",
    "/gradio_api/file=/etc/hostname", "/gradio_api/file=../x", "/gradio_api/file=http://127.0.0.1:1/x",
    "/gradio_api/file=%00", "/gradio_api/file/x", "/gradio_api/proxy=http://127.0.0.1:1/x", "/gradio_api/stream/x",
    "/gradio_api/stream/a/b/1/playlist.m3u8", "/gradio_api/stream/a/b/c/playlist-file", "/gradio_api/run/translate",
    "/gradio_api/call/translate", "/gradio_api/call/translate/x", "/gradio_api/call/v2/translate",
    "/gradio_api/api/translate", "/gradio_api/custom_component/a/b/c/d", "/gradio_api/dev/reload",
)  # fmt: skip

paths = st.one_of(
    st.sampled_from(_PATHS),
    st.sampled_from(_PATHS),
    st.builds(lambda path, tail: path + tail, st.sampled_from(_PATHS), st.text("/.%0aZ?&=#;\\\u00e9 ", max_size=12)),
    st.sampled_from(
        ["*", "", "//", "/" + "a" * 20_000, "http://127.0.0.1:1/", "/%ff%fe", "/\0", "/..;/", "/?" + "a=b&" * 2_000]
    ),
)
methods = st.sampled_from(
    ["GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "get", "G\0T", "", "A" * 300]
)
versions = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/9.9", "ICY", ""])

_numbers = st.sampled_from(
    ["0", "1", "-1", "+5", "5, 5", "0x5", "1e3", "99999999999999999999", "10000000", " 7 ", "\u0665"]
)
_HEADERS: dict[str, SearchStrategy[str]] = {
    "Host": st.sampled_from(
        ["127.0.0.1", "localhost:80", "evil.example", "", "[::1", "a b", "127.0.0.1:99999", "@", "x" * 300]
    ),
    "Origin": st.sampled_from(
        ["http://localhost", "https://evil.example", "null", "http://[", "http://a:b:c", "://", "\u00e9", "x" * 300]
    ),
    "Referer": st.sampled_from(["http://localhost/x", "http://[", "::"]),
    "Content-Length": _numbers,
    "Transfer-Encoding": st.sampled_from(
        ["chunked", "chunked, chunked", "gzip", "identity", "chunked\t", "xchunked", ""]
    ),
    "Content-Type": st.sampled_from(
        [
            "application/json",
            "text/plain",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "application/x-www-form-urlencoded",
            "application/json; charset=\u00e9",
            "x/y; charset=utf-16",
        ]
    ),
    "Cookie": st.sampled_from(["access-token=x", "a=b; a=c", "=;=", "access-token-unsecure-x=\u00e9"])
    | st.text('ab=;",', max_size=20),
    "Authorization": st.sampled_from(["Bearer x", "Basic dXNlcjpwYXNzd29yZA==", "Basic !", "Bearer \u00e9", ""]),
    "Range": st.sampled_from(["bytes=0-1", "bytes=-5", "bytes=9-1", "bytes=0-,1-,2-", "bytes=" + "0-0," * 500, "x"]),
    "Accept-Encoding": st.sampled_from(["gzip", "br;q=x", "*;q=0", ","]),
    "Accept-Language": st.sampled_from(["en", ";;;", "x" * 500]),
    "Expect": st.sampled_from(["100-continue", "x"]),
    "Connection": st.sampled_from(["close", "keep-alive", "Upgrade", "upgrade, keep-alive"]),
    "Upgrade": st.sampled_from(["websocket", "h2c", "x"]),
    "Sec-WebSocket-Key": st.sampled_from(["x", "dGhlIHNhbXBsZSBub25jZQ==", ""]),
    "Sec-WebSocket-Version": st.sampled_from(["13", "0", "x"]),
    "X-Forwarded-For": st.sampled_from(["1.2.3.4", "x, y", "", "::1, 1", "\u00e9"]),
    "X-Forwarded-Proto": st.sampled_from(["https", "x", "ws,wss"]),
    "X-Forwarded-Host": st.sampled_from(["evil.example", "a, b", "[", ""]),
    "X-Gradio-Server": st.sampled_from(["http://evil.example", "x"]),
    "X-Gradio-User": st.sampled_from(["x", "\u00e9"]),
    "If-Modified-Since": st.sampled_from(["x", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 99999 00:00:00 GMT"]),
    "X\0Y": st.just("z"),
    "No Colon": st.just(""),
}
_header = st.sampled_from(sorted(_HEADERS)).flatmap(lambda name: st.tuples(st.just(name), _HEADERS[name]))

# --- bodies ---

_file = st.fixed_dictionaries(
    {"path": st.sampled_from(["/etc/hostname", "x", "../x", "", "\0", "http://127.0.0.1:1/x"]) | values},
    optional={
        "meta": st.just({"_type": "gradio.FileData"}) | values,
        "orig_name": values,
        "size": values,
        "url": values,
    },
)
_events = st.fixed_dictionaries(
    {"data": st.lists(values | _file | st.sampled_from(["en", "pt", "", True]), max_size=5) | values},
    optional={
        "fn_index": st.integers(0, 26) | values,
        "session_hash": st.sampled_from(["x", "y"]) | values,
        "trigger_id": st.integers(0, 60) | values,
        "event_id": values,
        "event_data": values,
        "simple_format": values,
        "batched": values,
        "request": values,
        "component_id": st.integers(0, 60) | values,
        "fn_name": texts_of_any_kind,
    },
)
_seconds = st.floats(0, 1e6) | st.sampled_from([1e300, 1e15, -1.0]) | values
_row = st.fixed_dictionaries(
    {
        "start_s": _seconds,
        "end_s": _seconds,
        "text": texts_of_any_kind,
        "language": st.just("en") | values,
        "words": st.lists(
            st.fixed_dictionaries(
                {"text": texts_of_any_kind, "start_s": _seconds, "end_s": _seconds, "probability": st.floats() | values}
            ),
            max_size=2,
        ),
        "translation": st.none() | texts_of_any_kind,
        "target": st.none() | st.just("pt"),
        "turn": st.booleans(),
    }
)
subtitles = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["srt", "vtt", "json"]) | values,
        "text": st.sampled_from(["both", "translation", "source"]) | values,
        "rows": st.lists(_row, max_size=4) | values,
    }
)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, default=str).encode("utf-8", "surrogatepass")


_multipart = st.lists(
    st.builds(
        lambda name, head, content: (
            b"--x\r\nContent-Disposition: form-data; " + name + head + b"\r\n\r\n" + content + b"\r\n"
        ),
        st.sampled_from(
            [
                b'name="files"; filename="a.wav"',
                b'name="files"; filename="../../x"',
                b"name=files",
                b'filename="\xff\0"',
                b"",
            ]
        ),
        st.sampled_from([b"", b"\r\nContent-Type: audio/wav", b"\r\n" + b"x: y\r\n" * 100]),
        st.binary(max_size=200) | st.just(b"z" * 100_000),
    ),
    max_size=4,
).map(lambda parts: b"".join(parts) + b"--x--\r\n")

_chunked = st.lists(
    st.builds(
        lambda said, content: said + b"\r\n" + content + b"\r\n",
        st.sampled_from([b"5", b"0", b"-1", b"ffffffffffffffff", b"5;x=y", b"5;" + b"x" * 5_000, b"g", b""]),
        st.sampled_from([b"hello", b"", b"x" * 100]),
    ),
    max_size=5,
).map(b"".join)


@dataclass(frozen=True, slots=True)
class Request:
    """``length``: whether it says how long its body is, as it should."""

    method: str
    path: str
    version: str = "HTTP/1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    length: bool = True
    raw: bytes | None = None  # in place of all of it

    def encode(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [f"{self.method} {self.path} {self.version}"]
        if not any(name == "Host" for name, _ in self.headers):
            lines.append("Host: 127.0.0.1")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.length and self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + self.body


_JSON = [("Content-Type", "application/json")]
_MULTIPART = [("Content-Type", "multipart/form-data; boundary=x")]
_FORM = [("Content-Type", "application/x-www-form-urlencoded")]
_few_headers = st.lists(_header, max_size=4)
_posts = st.one_of(
    st.builds(
        lambda path, body, more: Request("POST", path, headers=[*_JSON, *more], body=_dumped(body)),
        st.sampled_from([path for path in _PATHS if "gradio_api" in path]),
        _events | values,
        st.lists(_header, max_size=1),
    ),
    st.builds(
        lambda path, body: Request("POST", path, headers=_JSON, body=_dumped(body)),
        st.sampled_from(["/gradio_api/queue/join", "/gradio_api/run/translate", "/gradio_api/run/predict"]),
        _events,
    ),
    st.builds(lambda body: Request("POST", "/demo/subtitles", headers=_JSON, body=_dumped(body)), subtitles),
    st.builds(
        lambda path, body: Request("POST", path, headers=_MULTIPART, body=body),
        st.sampled_from(
            ["/gradio_api/upload", "/gradio_api/upload?upload_id=x", "/login", "/gradio_api/process_recording"]
        ),
        _multipart | st.binary(max_size=50),
    ),
    st.builds(
        lambda body: Request("POST", "/login", headers=_FORM, body=body),
        st.sampled_from(
            [b"username=user&password=password", b"username=user&password=x", b"username=\xff&password=%00"]
        )
        | st.binary(max_size=40),
    ),
)
_any = st.builds(
    Request,
    methods,
    paths,
    versions,
    _few_headers,
    st.binary(max_size=60) | values.map(_dumped) | _chunked,
    st.booleans(),
)
_gets = st.builds(Request, st.sampled_from(["GET", "HEAD"]), paths, headers=_few_headers)
_raw = st.binary(min_size=1, max_size=100) | st.sampled_from(
    [b"\r\n" * 2_000, b"GET /health\r\n\r\n", b"\x16\x03\x01\x02\0\x01", b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 3_000]
)


def exchanges() -> SearchStrategy[list[Request]]:
    """Requests one behind the other on one connection."""
    one = st.one_of(_gets, _posts, _posts, _any, _raw.map(lambda raw: Request("", "", raw=raw)))
    return st.lists(one, min_size=1, max_size=MAX_REQUESTS)
