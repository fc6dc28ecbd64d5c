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
    max_sessions: Annotated[int, typer.Option(help="Sessions at the same time.", min=1)] = 16,
    max_sessions_per_address: Annotated[
        int, typer.Option(help="Of them, from one address, where no keys are asked for; this machine is exempt.", min=1)
    ] = 4,
    origin: Annotated[list[str] | None, typer.Option(help="Web page that may connect; may be given again.")] = None,
    api_keys: Annotated[Path | None, typer.Option(help="File with a key on each line; also MMPIPE_API_KEYS.")] = None,
    keys: Annotated[Path | None, typer.Option(help="File of keys with names: `mmpipe keys new`.")] = None,
    audit_log: Annotated[Path | None, typer.Option(help="Note here who did what, never what was said.")] = None,
    transcripts: Annotated[Path | None, typer.Option(help="Keep what was said in this folder.")] = None,
    transcripts_key: Annotated[
        Path | None, typer.Option(help="Encrypt it: `mmpipe transcripts new-key` makes the file.")
    ] = None,
    keep_days: Annotated[float | None, typer.Option(help="Remove transcripts after so many days.", min=0.01)] = None,
    glossary: Annotated[Path | None, typer.Option(help="Terms and how to translate them (TSV).")] = None,
    model: Annotated[
        str, typer.Option(help="Whisper weights, a folder, or module:Class of your own.")
    ] = "whisper-base",
    allowed_host: AllowedHost = None,
    trusted_proxy: TrustedProxy = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Serve live sessions over a WebSocket (docs/protocol.md), with /health, /ready and /metrics."""
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
    with LiveModels(model, glossary=Glossary.load(glossary) if glossary else None) as models:
        run(host, port, options, models, network)
