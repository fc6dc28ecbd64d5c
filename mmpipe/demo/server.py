"""The process behind ``mmpipe demo``: uvicorn around the application, ended in good order."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mmpipe.demo.options import DemoOptions
from mmpipe.extras import require
from mmpipe.logs import private_logs
from mmpipe.memory import bound_heap
from mmpipe.serve.listening import address, listen

if TYPE_CHECKING:
    from mmpipe.serve.audit import AuditLog
    from mmpipe.serve.hosts import Hosts

logger = logging.getLogger(__name__)

#: Pages keep a connection open for as long as they are: nobody waits for those.
GRACE_S = 2
#: Where Gradio puts uploads and what it makes.
_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"


def run(
    options: DemoOptions | None = None, said: Callable[[str], None] = logger.info, audit: AuditLog | None = None
) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM).

    Args:
        options: where and for whom.
        said: told where the page is.
        audit: where logins and refusals are noted.

    Raises:
        InputError: the address cannot be used.
        MissingDependencyError: the extra "demo" is not installed.
    """
    options = options or DemoOptions()
    bound_heap()
    with ExitStack() as stack:
        # Taken before anything is loaded, so that a mistake shows at once and the first visitor only has to wait.
        listening = stack.enter_context(listen(options.host, options.port))
        if not (options.loopback or options.auth):
            logger.warning("everybody who reaches %s may use this page: --auth changes that", options.host)
        stack.enter_context(_folder_of_its_own())
        with _nothing_is_garbage():
            for module in ("gradio", "websockets", "prometheus_client", "psutil"):
                require(module, "demo", "The demo")
            from mmpipe.demo.app import create_app
            from mmpipe.demo.errors import gradio_without_text
            from mmpipe.demo.models import DemoModels
            from mmpipe.serve.web_server import WebServer

            stack.enter_context(private_logs())
            stack.enter_context(gradio_without_text())
            models = stack.enter_context(DemoModels())
            app = create_app(models, options, audit)
        service = app.state.service
        server = WebServer(
            app,
            options.network,
            service.stop,
            max_message_bytes=service.max_message_bytes,
            grace_s=GRACE_S,
            audit=audit,
        )
        where = address("https" if options.network.tls else "http", options.host, listening.getsockname()[1])
        said(f"The page is at {where}; the models are being loaded. Ctrl-C ends it.")
        if options.share:
            _share(options, listening, app.state.hosts, said)
        if current_thread() is main_thread():
            # what visitors left here is removed then, too
            before = signal.signal(signal.SIGTERM, signal.default_int_handler)
            stack.callback(signal.signal, signal.SIGTERM, before)
        with suppress(KeyboardInterrupt):  # uvicorn ends in good order, and then raises what had stopped it
            server.run([listening])


@contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """Where visitors' files lie, which nobody else can look into: other programs that use Gradio share one."""
    before = os.environ.get(_FOLDER_VARIABLE)
    if before is not None:
        Path(before).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="mmpipe-demo-", dir=before, ignore_cleanup_errors=True) as folder:
        os.environ[_FOLDER_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_FOLDER_VARIABLE]
            else:
                os.environ[_FOLDER_VARIABLE] = before


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


def _share(options: DemoOptions, listening: socket.socket, hosts: Hosts, said: Callable[[str], None]) -> None:
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
            hosts.add(urlsplit(public).hostname or "")
            said(f"Everybody who knows the address can use the page: {public}")

    Thread(target=tunnel, name="mmpipe-share", daemon=True).start()
