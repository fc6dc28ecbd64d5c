"""The process behind ``mmpipe demo``: uvicorn around the application, ended in good order."""

from __future__ import annotations

import gc
import logging
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING

from mmpipe.demo.options import DemoOptions
from mmpipe.errors import InputError
from mmpipe.extras import require
from mmpipe.logs import private_logs

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

#: Pages keep a connection open for as long as they are: nobody waits for those.
GRACE_S = 2
PING_S = 20.0  # as mmpipe.serve


def run(options: DemoOptions | None = None, said: Callable[[str], None] = logger.info) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM). ``said``: told where the page is.

    Raises:
        InputError: the address cannot be used.
        MissingDependencyError: the extra "demo" is not installed.
    """
    options = options or DemoOptions()
    with ExitStack() as stack:
        # Taken before anything is loaded, so that a mistake shows at once and the first visitor only has to wait.
        listening = stack.enter_context(listen(options.host, options.port))
        if not (options.loopback or options.auth):
            logger.warning("everybody who reaches %s may use this page: --auth changes that", options.host)
        with _nothing_is_garbage():
            for module in ("gradio", "websockets", "prometheus_client", "psutil"):
                require(module, "demo", "The demo")
            from mmpipe.demo.app import create_app
            from mmpipe.demo.errors import gradio_without_text
            from mmpipe.demo.models import DemoModels

            stack.enter_context(private_logs())
            stack.enter_context(gradio_without_text())
            models = stack.enter_context(DemoModels())
            app = create_app(models, options)
        said(f"The page is at {address(options, listening)}; the models are being loaded. Ctrl-C ends it.")
        if options.share:
            _share(options, listening, said)
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # what visitors left here is removed then, too
        with suppress(KeyboardInterrupt):  # uvicorn ends in good order, and then raises what had stopped it
            _server(app).run([listening])


@contextmanager
def _nothing_is_garbage() -> Iterator[None]:
    """For imports: what they make stays, and the collector would look through the growing heap of it again and again,
    for a fifth of the time. It never does later, either."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _server(app: FastAPI) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """uvicorn, which by itself would cut the connections before sessions could say why they end."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()  # nobody new
            await app.state.service.stop()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            log_config=None,  # the command line sets logging up
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_max_queue=8,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,  # sound gets no smaller
            lifespan="on",
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Take the address.

    Raises:
        InputError: it cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another port.") from error


def address(options: DemoOptions, listening: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104  (compared, not bound)
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _share(options: DemoOptions, listening: socket.socket, said: Callable[[str], None]) -> None:
    """Open Gradio's tunnel to the page, on a thread: it takes a while, and may not be had."""

    token = secrets.token_urlsafe(32)

    def tunnel() -> None:
        from gradio.networking import setup_tunnel

        port = listening.getsockname()[1]
        try:
            public = setup_tunnel("127.0.0.1" if options.loopback else options.host, port, token, None, None)
        except Exception as error:  # whatever goes wrong out there, the page is here
            logger.warning("there is no public address: %s", error)
        else:
            said(f"Everybody who knows the address can use the page: {public}")

    Thread(target=tunnel, name="mmpipe-share", daemon=True).start()
