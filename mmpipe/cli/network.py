"""Options of the commands that serve something: who may connect, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmpipe.serve import NetworkOptions

AllowedHost = Annotated[
    list[str] | None,
    typer.Option(help="Name under which browsers find it, as example.org; may be given again. '*': any."),
]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(help="Address or network of a proxy whose X-Forwarded headers are believed; may be given again."),
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate (PEM), with those that vouch for it: https and wss.")]
TlsKey = Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")]


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
