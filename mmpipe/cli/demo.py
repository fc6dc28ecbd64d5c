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
    share: Annotated[bool, typer.Option("--share", help="Create a public link through Gradio's tunnel.")] = False,
    auth: Annotated[
        str | None, typer.Option(help="Require a login: user:password, or a file with one such line per user.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="URL path behind a reverse proxy, such as /demo.")] = "",
    max_upload_mb: Annotated[int, typer.Option(help="Maximum size of an uploaded file, in MB.", min=1)] = 200,
    max_stored_mb: Annotated[
        int, typer.Option(help="Maximum total size of all visitors' files, in MB.", min=1)
    ] = 10_000,
    max_sessions: Annotated[int, typer.Option(help="Maximum number of concurrent live sessions.", min=1)] = 16,
    allowed_host: AllowedHost = None,
    trusted_proxy: TrustedProxy = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="JSON Lines file for logins and refusals; never what was said.")
    ] = None,
) -> None:
    """Run the web demo: live translation, recordings, images and measurements."""
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
