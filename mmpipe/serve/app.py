"""The web application: the WebSocket, health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from prometheus_client import CONTENT_TYPE_LATEST

import mmpipe
from mmpipe.serve.attempts import Attempts
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.connection import Connection
from mmpipe.serve.guard import Guard, GuardedApp, Noted
from mmpipe.serve.hosts import Hosts
from mmpipe.serve.hub import Hub
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.wire import PATH

_BEARER = "bearer "


def create_app(
    hub: Hub,
    network: NetworkOptions | None = None,
    host: str = "127.0.0.1",
    audit: AuditLog | None = None,
    may_read_metrics: Callable[[str | None], bool] | None = None,
) -> FastAPI:
    """The application over ``hub``. It warms the models up when it starts, and ends the sessions when it stops.

    Args:
        hub: the sessions.
        network: who may ask for it.
        host: the address that it is served on.
        audit: where refusals are noted.
        may_read_metrics: whether who gives this key, or none, may see the metrics; by default, every key that is good
            for a session is.
    """
    network = network or NetworkOptions()
    may_read_metrics = may_read_metrics or hub.keys.allow
    hosts = Hosts(host, network.allowed_hosts, hub.options.allowed_origins)
    attempts, noted = Attempts(), Noted(audit)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.warm_up()), asyncio.create_task(hub.sweep_for_ever())]
        try:
            yield
        finally:
            await hub.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = GuardedApp(
        title="mmpipe",
        version=mmpipe.__version__,
        lifespan=lifespan,
        guard=lambda inner: Guard(inner, network, hosts, audit=audit),
    )

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, str]:
        """The models are warm and sessions are welcome; else status 503 and why."""
        if (reason := hub.not_ready) is not None:
            response.status_code = 503
            return {"status": "not ready", "reason": reason}
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """For Prometheus, with a key where the server has keys."""
        if not may_read_metrics(None):
            address = request.client.host if request.client else ""
            if wait_s := attempts.begin(address):
                raise HTTPException(429, "Too many wrong keys. Wait.", {"Retry-After": str(int(wait_s) + 1)})
            header = request.headers.get("authorization", "")
            given = header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else None
            if not may_read_metrics(given):
                noted("metrics.refused", "no key" if given is None else "wrong key", address)
                raise HTTPException(
                    401, "The metrics want an API key: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"}
                )
            attempts.succeeded(address)
        return Response(hub.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.websocket(PATH)
    async def live(websocket: WebSocket) -> None:
        await Connection(websocket, hub).serve()

    return app
