"""The web application: the WebSocket, health, readiness, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response, WebSocket
from prometheus_client import CONTENT_TYPE_LATEST

import mmpipe
from mmpipe.serve.connection import Connection
from mmpipe.serve.hub import Hub
from mmpipe.serve.wire import PATH


def create_app(hub: Hub) -> FastAPI:
    """The application over ``hub``. It warms the models up when it starts, and ends the sessions when it stops."""

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

    app = FastAPI(title="mmpipe", version=mmpipe.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

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
    async def metrics() -> Response:
        return Response(hub.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @app.websocket(PATH)
    async def live(websocket: WebSocket) -> None:
        await Connection(websocket, hub).serve()

    return app
