"""What every request passes before the application sees it, HTTP and WebSocket alike.

Is it for this server, from a page that may ask, of a size that is taken? And every answer tells the browser what not to
allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from mmpipe.serve.audit import AuditLog
from mmpipe.serve.bodies import LimitedBody, declared_bytes, too_large
from mmpipe.serve.hosts import Hosts, networks, within
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.refusal import Refusal

#: Believed of a trusted proxy only; Gradio would believe them, and one of its own, of anybody.
_FORWARDED = frozenset({b"forwarded", b"x-gradio-server"})
_FORWARDED_PREFIX = b"x-forwarded-"

#: For answers that no browser has to show.
NOTHING_ALLOWED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Guard:
    """ASGI middleware, the outermost one.

    Args:
        app: what is guarded.
        network: the limits.
        hosts: under which names it may be asked for, and by which pages.
        policy: the Content-Security-Policy of every answer; ``{host}`` in it is what the server was asked for as.
        body_limits: bytes of a body, by path, where it is not ``network.max_body_bytes``.
        audit: where refusals are noted.
    """

    def __init__(
        self,
        app: ASGIApp,
        network: NetworkOptions,
        hosts: Hosts,
        policy: str = NOTHING_ALLOWED,
        body_limits: Mapping[str, int] | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._network, self._hosts, self._policy = network, hosts, policy
        self._body_limits = dict(body_limits or {})
        self._trusted = networks(network.trusted_proxies)
        self._app = app
        self._behind_proxy = ProxyHeadersMiddleware(self._checked, list(network.trusted_proxies))  # type: ignore[arg-type]
        self._audit = audit or AuditLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif within(_peer(scope), self._trusted):
            await self._behind_proxy(scope, receive, send)  # type: ignore[arg-type]
        else:
            kept = [
                (name, value)
                for name, value in scope["headers"]
                if name not in _FORWARDED and not name.startswith(_FORWARDED_PREFIX)
            ]
            await self._checked({**scope, "headers": kept}, receive, send)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        told = headers.getlist("host")
        host = told[0] if told else ""
        send = self._with_headers(scope, send, host)
        limit = self._body_limits.get(scope["path"].rstrip("/"), self._network.max_body_bytes)
        if (refusal := self._refusal(scope, headers, told, limit)) is not None:
            await refusal(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._limited(scope, receive, send, limit)

    def _refusal(self, scope: Scope, headers: Headers, told: list[str], limit: int) -> Refusal | None:
        # Nothing that a browser sends is without a name; some health checks are.
        names = [*told, *(forwarded.strip() for forwarded in headers.get("x-forwarded-host", "").split(",")[:1])]
        for name in filter(None, names):
            if not self._hosts.allow(name):
                self._note("host", scope)
                return Refusal(403, _not_here(name))
        asked_as = (names[-1] if len(names) > len(told) else "") or (told[0] if told else "")
        if len(told) > 1 or not self._hosts.allow_origin(headers.get("origin"), asked_as):
            self._note("origin", scope)
            return Refusal(403, "A page of another origin may not talk to this server.")
        declared = declared_bytes(scope) if scope["type"] == "http" else None
        if declared is not None and declared > limit:
            self._note("too large", scope, bytes=declared)
            return too_large(limit)
        return None

    async def _limited(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        body, started = LimitedBody(receive, limit), False

        async def send_unless_exceeded(message: Message) -> None:
            nonlocal started
            if not body.exceeded or started:
                started = True
                await send(message)

        try:
            await self._app(scope, body, send_unless_exceeded)
        except ClientDisconnect:  # nobody is there to answer, and nothing of ours went wrong
            pass
        except Exception:  # reading ended before the body did
            if not body.exceeded:
                raise
        if body.exceeded:
            self._note("too large", scope)
            if not started:
                await too_large(limit)(scope, receive, send)

    def _with_headers(self, scope: Scope, send: Send, host: str) -> Send:
        policy = self._policy.replace("{host}", host if self._hosts.allow(host) else "")

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message.setdefault("headers", [])
                found = MutableHeaders(scope=message)
                found.append("content-security-policy", policy)  # one that is there holds besides
                for name, value in (
                    ("x-content-type-options", "nosniff"),
                    ("x-frame-options", "DENY"),
                    ("referrer-policy", "same-origin"),
                    ("cross-origin-resource-policy", "same-origin"),
                ):
                    found[name] = value
            await send(message)

        return send_with_headers

    def _note(self, why: str, scope: Scope, **facts: Any) -> None:
        self._audit.note("connection.refused", address=_peer(scope), why=why, **facts)


def refuse_without_echo(app: FastAPI) -> None:
    """Say of a body that is not what was asked for where it is wrong, and not what it held: FastAPI would send it back,
    and fail where that is no text."""

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [".".join(map(str, one["loc"])).encode("ascii", "replace").decode()[:200] for one in error.errors()[:8]]
        return JSONResponse({"detail": "The request is not what is asked for here.", "wrong": wrong}, 422)


class GuardedApp(FastAPI):
    """An application with ``guard`` around all of it, also around what answers when it fails."""

    def __init__(self, *given: Any, guard: Callable[[ASGIApp], ASGIApp], **named: Any) -> None:
        super().__init__(*given, docs_url=None, redoc_url=None, openapi_url=None, **named)
        refuse_without_echo(self)
        self._guard = guard

    def build_middleware_stack(self) -> ASGIApp:
        return self._guard(super().build_middleware_stack())


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _not_here(name: str) -> str:
    shown = name if len(name) <= 100 and name.isprintable() else "that name"
    return f"This server does not answer to {shown}. If it is meant to, start it with --allowed-host NAME."
