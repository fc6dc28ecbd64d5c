"""Who may connect to a server, how, and how much of it one of them may take. Shared by ``serve`` and ``demo``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from mmpipe.errors import InputError
from mmpipe.serve.hosts import networks, split_host
from mmpipe.serve.tls import server_context

LOCAL_PROXIES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What holds between the network and the application. All times in seconds.

    Raises:
        InputError: a limit that nothing could satisfy, a name that is none, or a certificate that cannot be used.
    """

    #: Names under which the server may be asked for besides its own address; "*": under any.
    allowed_hosts: tuple[str, ...] = ()
    #: Addresses or networks whose X-Forwarded-For, -Proto and -Host are believed.
    trusted_proxies: tuple[str, ...] = LOCAL_PROXIES
    #: PEM files; with both the server speaks https and wss.
    tls_cert: Path | None = None
    tls_key: Path | None = None

    #: Open at a time; at most half of the file descriptors that the process may have. Live sessions are at most a few
    #: dozen, a page keeps two or three.
    max_connections: int = 512
    #: Of one address (IPv6: one /64), trusted proxies excepted. An office behind one address has about twenty pages.
    max_connections_per_address: int = 64
    #: For the TLS handshake and the first request to be there whole, and for each later one.
    request_timeout_s: float = 10.0
    #: A body that comes in more slowly, over ``body_window_s``, is given up. A bad mobile network has ten times that.
    min_body_bytes_per_s: int = 1024
    body_window_s: float = 20.0
    #: A connection that takes nothing of what waits for it is given up.
    unread_timeout_s: float = 30.0
    #: Control frames may leave so much unread in a WebSocket. What the application sends waits by itself.
    max_unread_bytes: int = 1_000_000
    #: Of a request. Uploads have a limit of their own.
    max_body_bytes: int = 1_000_000
    #: Of one WebSocket message. Browsers and libraries send one, or one for each 64 kB.
    max_fragments: int = 64
    #: Pings, pongs and the like of a WebSocket, lasting; ten times as many for a moment.
    max_control_frames_per_s: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise InputError(f"{field.name} must be above 0, not {value}.")
        for name in self.allowed_hosts:
            if name != "*" and split_host(name) is None:
                raise InputError(f"{name!r} is no name of a host. Write it as example.org, without a scheme or a path.")
        networks(self.trusted_proxies)
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "--tls-key" if self.tls_key is None else "--tls-cert"
            raise InputError(f"TLS wants a certificate and its key: {missing} is missing.")
        if self.tls_cert is not None and self.tls_key is not None:
            server_context(self.tls_cert, self.tls_key)  # a mistake shows before any model is loaded

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None
