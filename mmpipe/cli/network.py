"""Options of the commands that serve something: who may connect, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmpipe.serve import NetworkOptions

AllowedHost = Annotated[
    list[str] | None,
    typer.Option(help="Host name under which browsers reach the server, such as example.org; '*' for any. Repeatable."),
]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(help="Address or network of a proxy whose X-Forwarded headers are trusted. Repeatable."),
]
TlsCert = Annotated[Path | None, typer.Option(help="TLS certificate chain (PEM), for https and wss.")]
TlsKey = Annotated[Path | None, typer.Option(help="Private key of the TLS certificate (PEM).")]


def network_options(
    allowed_hosts: list[str] | None, trusted_proxies: list[str] | None, tls_cert: Path | None, tls_key: Path | None
) -> NetworkOptions:
    """
    Raises:
        InputError: a name that is none, or a certificate that cannot be used.
    """
    from mmpipe.serve import NetworkOptions
    from mmpipe.serve.network import LOCAL_PROXIES

    return NetworkOptions(
        allowed_hosts=tuple(allowed_hosts or ()),
        trusted_proxies=tuple(trusted_proxies or LOCAL_PROXIES),
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
