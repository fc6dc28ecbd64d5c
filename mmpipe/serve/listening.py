"""The address of a server. Nothing of this loads anything."""

from __future__ import annotations

import socket

from mmpipe.errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded, so that a mistake shows at once.

    Raises:
        InputError: it cannot be had.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another port.") from error


def address(scheme: str, host: str, port: int) -> str:
    """Where a program on this machine finds a server that listens on ``host``."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (compared, not bound)
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
