"""Live translation for many clients: a WebSocket server. The protocol is in ``docs/protocol.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpipe.extras import require
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.options import ServeOptions, read_api_keys

if TYPE_CHECKING:
    from mmpipe.pipelines.live import LiveModels

__all__ = ["NetworkOptions", "ServeOptions", "read_api_keys", "run"]


def run(
    host: str = "127.0.0.1",
    port: int = 8765,
    options: ServeOptions | None = None,
    models: LiveModels | None = None,
    network: NetworkOptions | None = None,
) -> None:
    """Serve until the process is told to stop. See :func:`mmpipe.serve.server.run`.

    Raises:
        MissingDependencyError: the extra "serve" is not installed.
        WeightsError: an engine cannot be had.
        InputError: the address cannot be used.
    """
    for module in ("fastapi", "uvicorn", "websockets", "prometheus_client"):
        require(module, "serve", "The server")
    from mmpipe.serve import server

    server.run(host, port, options, models, network)
