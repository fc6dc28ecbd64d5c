"""The web application: the WebSocket, health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from prometheus_client import CONTENT_TYPE_LATEST

import mmpipe
from mmpipe.serve.access import RefusedError
from mmpipe.serve.connection import Connection
from mmpipe.serve.guard import Guard, GuardedApp
from mmpipe.serve.hosts import Hosts
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.session_manager import SessionManager
from mmpipe.serve.wire import PATH


def create_app(
    manager: SessionManager,
    network: NetworkOptions | None = None,
    host: str = "127.0.0.1",
) -> FastAPI:
    """The application over ``manager``. It warms the models up when it starts, and ends the sessions when it stops.

    Args:
        manager: the sessions.
        network: who may ask for it.
        host: the address that it is served on.
    """
    network = network or NetworkOptions()
    hosts = Hosts(host, network.allowed_hosts, manager.options.allowed_origins)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(manager.warmup()), asyncio.create_task(manager.sweep_for_ever())]
        try:
            yield
        finally:
            await manager.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = GuardedApp(
        title="mmpipe",
        version=mmpipe.__version__,
        lifespan=lifespan,
        guard=lambda inner: Guard(inner, network, hosts, audit=manager.audit),
    )

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, str]:
        """The models are warm and sessions are welcome; else status 503 and why."""
        if (reason := manager.not_ready) is not None:
            response.status_code = 503
            return {"status": "not ready", "reason": reason}
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """For Prometheus, with a key where the server has keys."""
        address = request.client.host if request.client else None
        try:
            manager.keys.check_header(request.headers.get("authorization"), address, "metrics")
        except RefusedError as refused:
            headers = {"WWW-Authenticate": "Bearer"}
            if refused.retry_after_s is not None:
                headers["Retry-After"] = str(int(refused.retry_after_s) + 1)
            raise HTTPException(refused.status, str(refused), headers) from refused
        return Response(manager.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.websocket(PATH)
    async def live(websocket: WebSocket) -> None:
        await Connection(websocket, manager).serve()

    return app
