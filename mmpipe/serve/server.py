"""The server process: uvicorn around the application, ended in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import ExitStack, suppress

import uvicorn

from mmpipe.errors import InputError
from mmpipe.logs import private_logs
from mmpipe.pipelines.live import LiveModels
from mmpipe.serve.app import create_app
from mmpipe.serve.hub import Hub
from mmpipe.serve.options import ServeOptions

logger = logging.getLogger(__name__)

#: The protocol's own heartbeat: a connection whose answer is this late is taken to be lost.
PING_S = 20.0

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765


class Server(uvicorn.Server):
    """uvicorn, which by itself would cut the connections before sessions could say why they end."""

    def __init__(self, hub: Hub, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> None:
        self._hub = hub
        options = hub.options
        super().__init__(
            uvicorn.Config(
                create_app(hub),
                host=host,
                port=port,
                log_config=None,  # the command line sets logging up
                access_log=False,
                server_header=False,
                ws="websockets-sansio",
                ws_max_size=options.max_message_bytes,
                ws_max_queue=8,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # sound gets no smaller, and a small message could unpack to a huge one
                lifespan="on",
                timeout_graceful_shutdown=max(1, round(options.close_timeout_s)),
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # nobody new
        await self._hub.stop()
        with suppress(TimeoutError):  # who does not read is cut off
            async with asyncio.timeout(self._hub.options.close_timeout_s):
                while any(session.connected for session in self._hub.sessions.values()):
                    await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def run(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    options: ServeOptions | None = None,
    models: LiveModels | None = None,
) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM). ``models`` is closed by whoever made it.

    Raises:
        WeightsError, MissingDependencyError: an engine cannot be had.
        InputError: the address cannot be used, or the folder for transcripts cannot be made.
    """
    options = options or ServeOptions()
    if host not in ("127.0.0.1", "localhost", "::1") and not (options.api_keys or options.keys_file):
        logger.warning("everybody who reaches %s may use this server: give API keys to change that", host)
    sockets = [_listen(host, port)]
    with ExitStack() as stack:
        stack.enter_context(private_logs())
        if models is None:
            models = stack.enter_context(LiveModels())
        with suppress(KeyboardInterrupt):  # uvicorn ends in good order, and then raises what had stopped it
            Server(Hub(models, options), host, port).run(sockets)


def _listen(host: str, port: int) -> socket.socket:
    """Take the address before the models are loaded, so that a mistake shows at once."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another port.") from error
