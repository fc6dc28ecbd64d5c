"""``mmpipe serve``: live sessions for programs and browsers, over a WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmpipe.cli.console import err, guarded
from mmpipe.cli.network import AllowedHost, TlsCert, TlsKey, TrustedProxy, network_options


@guarded
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8765,
    max_sessions: Annotated[int, typer.Option(help="Maximum number of concurrent sessions.", min=1)] = 16,
    max_sessions_per_address: Annotated[
        int, typer.Option(help="Maximum number per address when no keys are required; this machine is exempt.", min=1)
    ] = 4,
    origin: Annotated[list[str] | None, typer.Option(help="Origin of a web page that may connect. Repeatable.")] = None,
    api_keys: Annotated[Path | None, typer.Option(help="File with one API key per line; also MMPIPE_API_KEYS.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Named keys (TOML), made by `mmpipe keys new`.")] = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="JSON Lines file for connections, sessions and refusals; never what was said.")
    ] = None,
    transcripts: Annotated[Path | None, typer.Option(help="Folder to keep transcripts in.")] = None,
    transcripts_key: Annotated[
        Path | None, typer.Option(help="Key file to encrypt transcripts with, made by `mmpipe transcripts new-key`.")
    ] = None,
    keep_days: Annotated[float | None, typer.Option(help="Delete transcripts after this many days.", min=0.01)] = None,
    glossary: Annotated[Path | None, typer.Option(help="TSV file of terms and their translations.")] = None,
    model: Annotated[
        str, typer.Option(help="Whisper weights, a folder, or your own engine as module:Class.")
    ] = "whisper-base",
    allowed_host: AllowedHost = None,
    trusted_proxy: TrustedProxy = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Serve live sessions over a WebSocket (docs/protocol.md), with /health, /ready and /metrics."""
    from mmpipe.pipelines.engines import Engines
    from mmpipe.pipelines.live import LiveModels
    from mmpipe.serve import ServeOptions, read_api_keys, run
    from mmpipe.translate import Glossary

    options = ServeOptions(
        max_sessions=max_sessions,
        max_sessions_per_address=max_sessions_per_address,
        allowed_origins=tuple(origin or ()),
        api_keys=read_api_keys(api_keys),
        keys_file=keys,
        audit_log=audit_log,
        transcripts=transcripts,
        transcripts_key=transcripts_key,
        keep_days=keep_days,
    )
    network = network_options(allowed_host, trusted_proxy, tls_cert, tls_key)
    shown = f"[{host}]" if ":" in host else host
    err.print(f"Warming up; then listening on {'wss' if network.tls else 'ws'}://{shown}:{port}/v1/live", markup=False)
    with (
        Engines(model, interactive=True) as engines,
        LiveModels(engines, glossary=Glossary.load(glossary) if glossary else None) as models,
    ):
        run(host, port, options, models, network)
