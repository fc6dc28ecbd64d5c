"""uvicorn, as ``mmpipe serve`` and ``mmpipe demo`` use it: within limits, over TLS or not, ended in good order."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

from mmpipe.serve.audit import AuditLog
from mmpipe.serve.connections import Connections
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.protocols import ConnectionLimits, http_protocol
from mmpipe.serve.repeats import counting_repeats
from mmpipe.serve.tls import server_context

#: The protocol's own heartbeat: a connection whose answer is this late is taken to be lost.
PING_S = 20.0
#: Connections that wait to be accepted, and are accepted at once.
BACKLOG = 128
_SWEEP_EVERY_TICKS = 5  # of uvicorn's, of which ten are a second


class WebServer(uvicorn.Server):
    """uvicorn, which by itself would cut the connections before sessions could say why they end.

    Args:
        app: what is served.
        network: the limits, and the certificate.
        stop: ends what is under way, before connections are closed.
        max_message_bytes: of a WebSocket message.
        grace_s: for connections to end by themselves.
        host: where to listen, unless :meth:`run` is given a socket; likewise ``port``.
        audit: where refused connections are noted.
    """

    def __init__(
        self,
        app: ASGIApp,
        network: NetworkOptions,
        stop: Callable[[], Awaitable[None]],
        *,
        max_message_bytes: int,
        grace_s: int,
        host: str = "127.0.0.1",
        port: int = 0,
        audit: AuditLog | None = None,
    ) -> None:
        noted = (audit or AuditLog()).note
        tls = server_context(network.tls_cert, network.tls_key) if network.tls_cert and network.tls_key else None
        self.open_connections = Connections(
            network, lambda why, address: noted("connection.refused", why=why, address=address)
        )
        self._stop = stop
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=http_protocol(ConnectionLimits(network, self.open_connections, tls)),
                proxy_headers=False,  # the guard sees to them, and must know who sent them
                log_config=None,  # the command line sets logging up
                access_log=False,
                server_header=False,
                ws="websockets-sansio",
                ws_max_size=max_message_bytes,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # sound gets no smaller, and a small message could unpack to a huge one
                lifespan="on",
                backlog=BACKLOG,
                timeout_graceful_shutdown=grace_s,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        with counting_repeats() as self._repeats:
            super().run(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_EVERY_TICKS == 0:
            self.open_connections.sweep()
            if repeats := getattr(self, "_repeats", None):
                repeats.flush()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # nobody new
        await self._stop()
        await super().shutdown(sockets)
