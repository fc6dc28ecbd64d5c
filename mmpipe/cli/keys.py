"""``mmpipe keys``: who may use a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mmpipe.cli.console import err, guarded, out
from mmpipe.errors import InputError

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", "-f", help="Key file (TOML).")]
Name = Annotated[str, typer.Argument(help="Name of the key's owner, as shown in logs.", show_default=False)]
DEFAULT_FILE = Path("keys.toml")


@app.command()
@guarded
def new(
    name: Name,
    file: File = DEFAULT_FILE,
    rights: Annotated[str, typer.Option(help="Comma-separated: live, recordings, questions, metrics.")] = "live",
    seats: Annotated[int, typer.Option(help="Maximum number of concurrent sessions.", min=1)] = 4,
    per_minute: Annotated[
        int, typer.Option(help="Maximum number of new sessions and requests per minute.", min=1)
    ] = 30,
    expires: Annotated[str | None, typer.Option(help="Last day on which the key is valid, such as 2027-12-31.")] = None,
) -> None:
    """Make a key and print it, once: only its digest is kept."""
    from mmpipe.serve.keys import RIGHTS, ApiKey, add_key, digest, new_key

    wanted = frozenset(right.strip() for right in rights.split(",")) - {""}
    if not wanted or not wanted <= set(RIGHTS):
        raise InputError(f"--rights takes some of {', '.join(RIGHTS)}, comma-separated.")
    try:
        last_day = datetime.fromisoformat(expires).date() if expires else None
    except ValueError:
        raise InputError(f"--expires takes a date as 2027-12-31, not {expires!r}.") from None
    if last_day is not None and last_day < datetime.now(UTC).date():
        raise InputError(f"{expires} is past: the key would be of no use.")
    key = new_key()
    add_key(file, ApiKey(name, digest(key), wanted, seats, per_minute, last_day))
    out.print(key, markup=False)
    err.print(
        f"That is the key of {name}. It is not kept: hand it over now, over a channel that nobody reads. "
        f"{file} has its digest; a server that runs with --keys {file} takes it up on SIGHUP.",
        markup=False,
    )


@app.command("list")
@guarded
def list_keys(file: File = DEFAULT_FILE) -> None:
    """Show the names of the keys, and what they are good for."""
    from mmpipe.serve.keys import RIGHTS, read_keys

    today = datetime.now(UTC).date()
    table = Table("name", "rights", "seats", "a minute", "good until")
    for key in read_keys(file):
        until = key.expires.isoformat() if key.expires else "for ever"
        table.add_row(
            key.name,
            ", ".join(right for right in RIGHTS if right in key.rights),
            str(key.seats or "-"),
            str(key.requests_per_minute or "-"),
            f"{until} (expired)" if key.expired(today) else until,
        )
    out.print(table)


@app.command()
@guarded
def revoke(name: Name, file: File = DEFAULT_FILE) -> None:
    """Take a key out of the file. A server that runs ends its sessions on SIGHUP."""
    from mmpipe.serve.keys import remove_key

    remove_key(file, name)
    err.print(f"The key of {name} is revoked. Send SIGHUP to a server that runs: kill -HUP PID.", markup=False)
