"""The web application: the page, the WebSocket of the live tab, and what the page asks for besides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, WebSocket
from fastapi.staticfiles import StaticFiles
from gradio.utils import get_upload_folder
from starlette.routing import Mount
from starlette.types import ASGIApp

import mmpipe
from mmpipe import untrusted
from mmpipe.demo.access import LOGIN, UPLOAD, LoginMiddleware
from mmpipe.demo.endpoints import endpoints
from mmpipe.demo.errors import refuse_what_gradio_fails_on
from mmpipe.demo.live_tab import STATIC
from mmpipe.demo.models import DemoModels
from mmpipe.demo.options import DemoOptions
from mmpipe.demo.page import build_page
from mmpipe.demo.service import LiveService
from mmpipe.demo.storage import Storage
from mmpipe.demo.theme import theme
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.guard import Guard, GuardedApp, refuse_without_echo
from mmpipe.serve.wire import PATH

#: As Gradio counts a size in "mb".
MEGABYTE = 1024**2
#: What a form says besides the file in it.
FORM_BYTES = 65_536
#: Four hours of captions with the times of their words have 7 MB.
MAX_SUBTITLES_BYTES = 8_000_000
MAX_LOGIN_BYTES = 16_384
#: Pages of which Gradio remembers how their components stand: 85 kB each, and it would keep ten thousand of them. The
#: page that was silent the longest is forgotten first, and its components are then as they are at the beginning.
MAX_PAGE_STATES = 128

#: Gradio's page has scripts and styles in it, and makes functions of what a component's script says. Nothing comes from
#: elsewhere, nothing goes elsewhere, and nobody shows the page within another.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' ws://{host} wss://{host} data: blob:",  # some browsers take 'self' for http only
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


def create_app(models: DemoModels, options: DemoOptions | None = None, audit: AuditLog | None = None) -> FastAPI:
    """The application over ``models``, which are warmed up when it starts.

    Args:
        models: of all tabs.
        options: where and for whom the page is served.
        audit: where logins and refusals are noted.
    """
    options = options or DemoOptions()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio looks there whenever it would report something
    service, hosts = LiveService(models, options.max_sessions), options.hosts()
    storage = Storage(Path(get_upload_folder()).resolve(), options.max_stored_mb * MEGABYTE)
    upload_bytes = options.max_upload_mb * MEGABYTE + FORM_BYTES
    limits = {UPLOAD: upload_bytes, "/demo/subtitles": MAX_SUBTITLES_BYTES, LOGIN: MAX_LOGIN_BYTES}

    def guard(app: ASGIApp) -> ASGIApp:
        logged_in = LoginMiddleware(app, bool(options.auth), storage, upload_bytes, audit)
        return Guard(logged_in, options.network, hosts, PAGE_POLICY, limits, audit)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.warmup()
        untrusted.start()
        task = asyncio.create_task(service.run())
        try:
            yield
        finally:
            await service.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    app = GuardedApp(title="mmpipe", version=mmpipe.__version__, lifespan=lifespan, guard=guard)
    app.state.service, app.state.hosts = service, hosts
    app.mount("/demo/static", StaticFiles(directory=STATIC))
    app.include_router(endpoints(models, service), prefix="/demo")

    @app.websocket(PATH)
    async def live(websocket: WebSocket) -> None:
        await service.serve(websocket)

    page = build_page(models)
    page.queue(max_size=options.max_queued)
    page.state_session_capacity = MAX_PAGE_STATES
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
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            refuse_without_echo(route.app)  # Gradio's own routes
            refuse_what_gradio_fails_on(route.app)
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
