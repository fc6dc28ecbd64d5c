"""The web application: the page, the WebSocket of the live tab, and what the page asks for besides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import gradio as gr
from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.staticfiles import StaticFiles

import mmpipe
from mmpipe.demo.access import Access
from mmpipe.demo.endpoints import endpoints
from mmpipe.demo.live_tab import STATIC
from mmpipe.demo.models import DemoModels
from mmpipe.demo.options import DemoOptions
from mmpipe.demo.page import build_page
from mmpipe.demo.service import LiveService
from mmpipe.demo.theme import theme
from mmpipe.serve.wire import PATH, Close


def create_app(models: DemoModels, options: DemoOptions | None = None) -> FastAPI:
    """The application over ``models``, which are warmed up when it starts."""
    options = options or DemoOptions()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio looks there whenever it would report something
    service, access = LiveService(models, options.max_sessions), Access(options)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.warm_up()
        task = asyncio.create_task(service.run())
        try:
            yield
        finally:
            await service.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def guarded(request: Request) -> None:
        if not await access.allows(request):
            raise HTTPException(401, "Log in first.")

    app = FastAPI(title="mmpipe", version=mmpipe.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.mount("/demo/static", StaticFiles(directory=STATIC))
    app.include_router(endpoints(models, service), prefix="/demo", dependencies=[Depends(guarded)])

    @app.websocket(PATH)
    async def live(websocket: WebSocket) -> None:
        if await access.allows(websocket):
            await service.serve(websocket)
        else:
            await websocket.close(Close.ORIGIN)  # before it was accepted, that is HTTP 403

    page = build_page(models)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=options.host,
        server_port=options.port,
        auth=list(options.auth) or None,
        root_path=options.root_path or None,
        max_file_size=f"{options.max_upload_mb}mb",
        theme=theme(),
        head=head(options.root_path),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=False,
    )
    access.gradio_app = next(route.app for route in app.routes if getattr(route, "path", None) == "")  # type: ignore[attr-defined]
    return app


def head(root_path: str) -> str:
    """What the page has in its head besides what Gradio puts there.

    Style sheets are linked: those given to Gradio get their selectors rewritten, and no longer find the dark mode.
    """
    root = root_path.rstrip("/")
    sheets = [f'<link rel="stylesheet" href="{root}/demo/static/{path.name}">' for path in sorted(STATIC.glob("*.css"))]
    return "\n".join(
        ['<meta name="referrer" content="same-origin">', '<meta name="color-scheme" content="light dark">', *sheets]
    )
