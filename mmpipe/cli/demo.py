"""``mmpipe demo``: the web page."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from mmpipe.cli.console import err, guarded
from mmpipe.cli.network import AllowedHost, TlsCert, TlsKey, TrustedProxy, network_options


@guarded
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 7860,
    share: Annotated[
        bool, typer.Option("--share", help="Also under a public address, through a tunnel of Gradio's.")
    ] = False,
    auth: Annotated[
        str | None, typer.Option(help="Who may come in: user:password, or a file with one such line for each.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy shows the page, as /demo.")] = "",
    max_upload_mb: Annotated[int, typer.Option(help="Size of a file that visitors may send, at most.", min=1)] = 200,
    max_stored_mb: Annotated[int, typer.Option(help="What files of all visitors may take.", min=1)] = 10_000,
    max_sessions: Annotated[int, typer.Option(help="Live sessions at the same time.", min=1)] = 16,
    allowed_host: AllowedHost = None,
    trusted_proxy: TrustedProxy = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="File for logins and refusals, one JSON line each; never what was said.")
    ] = None,
) -> None:
    """A page to try everything in a browser: live translation, recordings, pictures, measurements."""
    from mmpipe.demo import DemoOptions, run
    from mmpipe.demo.options import read_auth
    from mmpipe.serve.audit import AuditLog

    options = DemoOptions(
        host=host,
        port=port,
        share=share,
        auth=read_auth(auth) if auth else (),
        root_path=root_path,
        max_upload_mb=max_upload_mb,
        max_stored_mb=max_stored_mb,
        max_sessions=max_sessions,
        network=network_options(allowed_host, trusted_proxy, tls_cert, tls_key),
    )
    with closing(AuditLog(audit_log)) as audit:
        run(options, said=lambda text: err.print(text, markup=False), audit=audit)
