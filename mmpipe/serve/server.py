"""The server process: the application over its models, ended in good order."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress

from mmpipe.logs import private_logs
from mmpipe.memory import bound_heap
from mmpipe.pipelines.live import LiveModels
from mmpipe.serve.app import create_app
from mmpipe.serve.hosts import LOOPBACK
from mmpipe.serve.listening import listen
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.session_manager import SessionManager
from mmpipe.serve.web_server import WebServer

logger = logging.getLogger(__name__)

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765


class Server(WebServer):
    """The server over the sessions of ``manager``."""

    def __init__(
        self,
        manager: SessionManager,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        network: NetworkOptions | None = None,
    ) -> None:
        self._manager = manager
        network = network or NetworkOptions()
        super().__init__(
            create_app(manager, network, host),
            network,
            self._stop_sessions,
            host=host,
            port=port,
            max_message_bytes=manager.options.max_message_bytes,
            grace_s=max(1, round(manager.options.close_timeout_s)),
            audit=manager.audit,
        )

    async def _stop_sessions(self) -> None:
        await self._manager.stop()
        with suppress(TimeoutError):  # who does not read is cut off
            async with asyncio.timeout(self._manager.options.close_timeout_s):
                while any(session.connected for session in self._manager.sessions.values()):
                    await asyncio.sleep(0.02)


def run(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    options: ServeOptions | None = None,
    models: LiveModels | None = None,
    network: NetworkOptions | None = None,
) -> None:
    """Serve until the process is told to stop (Ctrl-C, SIGTERM). ``models`` is closed by whoever made it.

    Raises:
        WeightsError, MissingDependencyError: an engine cannot be had.
        InputError: the address cannot be used, or the folder for transcripts cannot be made.
    """
    options = options or ServeOptions()
    bound_heap()
    if host not in LOOPBACK and not (options.api_keys or options.keys_file):
        logger.warning("everybody who reaches %s may use this server: give API keys to change that", host)
    sockets = [listen(host, port)]
    with ExitStack() as stack:
        stack.enter_context(private_logs())
        if models is None:
            models = stack.enter_context(LiveModels())
        with suppress(KeyboardInterrupt):  # uvicorn ends in good order, and then raises what had stopped it
            Server(SessionManager(models, options), host, port, network).run(sockets)
