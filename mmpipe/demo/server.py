"""The process behind ``mmpipe demo``: uvicorn around the application, ended in good order."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress

from mmpipe.demo.options import DemoOptions
from mmpipe.errors import InputError
from mmpipe.extras import require

logger = logging.getLogger(__name__)


def run(options: DemoOptions | None = None, said: Callable[[str], None] = logger.info) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM). ``said``: told where the page is.

    Raises:
        InputError: the address cannot be used.
        MissingDependencyError: the extra "demo" is not installed.
    """
    options = options or DemoOptions()
    listening = listen(options.host, options.port)
    require("gradio", "demo", "The demo")
    import uvicorn

    from mmpipe.demo.app import create_app
    from mmpipe.demo.models import DemoModels

    said(f"The page is at {address(options, listening)}; the models are being loaded. Ctrl-C ends it.")
    with ExitStack() as stack:
        stack.enter_context(listening)
        models = stack.enter_context(DemoModels())
        config = uvicorn.Config(
            create_app(models, options),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            lifespan="on",
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listening])


def address(options: DemoOptions, listening: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104  (compared, not bound)
    port = listening.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded, so that a mistake shows at once, and the first visitor can come.

    Raises:
        InputError: it cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another port.") from error
