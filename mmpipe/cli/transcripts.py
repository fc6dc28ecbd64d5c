"""``mmpipe transcripts``: what a server has kept of its sessions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mmpipe.cli.console import err, guarded, out, size
from mmpipe.errors import InputError
from mmpipe.files import writing

if TYPE_CHECKING:
    from mmpipe.serve.transcripts import StoredTranscript

app = typer.Typer(help="Show and delete the transcripts that a server keeps.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Option("--folder", envvar="MMPIPE_TRANSCRIPTS", help="Transcripts folder.", show_default=False)
]


@app.command("new-key")
@guarded
def new_key(path: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]) -> None:
    """Make a key file for `mmpipe serve --transcripts-key`. Without it nobody can read what it encrypted."""
    from mmpipe.serve.transcripts import new_key_file

    new_key_file(path)
    err.print(f"{path} is made. Keep a copy elsewhere, and not beside the transcripts.", markup=False)


@app.command("list")
@guarded
def list_transcripts(
    folder: Annotated[
        Path, typer.Argument(envvar="MMPIPE_TRANSCRIPTS", help="Transcripts folder.", show_default=False)
    ],
) -> None:
    """Show which there are, oldest first."""
    table = Table("session", "began (UTC)", "size", "encrypted")
    for found in _stored(folder):
        began = f"{found.began:%Y-%m-%d %H:%M}"
        table.add_row(found.session, began, size(found.size_bytes), "yes" if found.encrypted else "no")
    out.print(table)


@app.command()
@guarded
def show(
    session: Annotated[str, typer.Argument(show_default=False)],
    folder: Folder,
    key: Annotated[Path | None, typer.Option(help="Key file, for encrypted transcripts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the stored JSON lines.")] = False,
) -> None:
    """Print what was said in a session, and its translation."""
    from mmpipe.serve.transcripts import TranscriptKeys, TranscriptStore

    store = TranscriptStore(folder, TranscriptKeys(key) if key else None)
    for found in _chosen(_stored(folder), [session]):
        for line in store.read(found):
            if as_json:
                out.print(json.dumps(line, ensure_ascii=False), markup=False)
            else:
                mark = "  -> " if line["type"] == "translated" else ""
                out.print(f"{mark}{line['text']}", markup=False)


@app.command()
@guarded
def delete(
    folder: Folder,
    sessions: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    older_than: Annotated[float | None, typer.Option(help="Only those unchanged for this many days.", min=0)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all transcripts.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete transcripts. Files that no server made are left alone."""
    if (sessions is not None and len(sessions) > 0) + (older_than is not None) + everything != 1:
        raise InputError("Say which: names of sessions, --older-than DAYS, or --all.")
    chosen = _stored(folder)
    if sessions:
        chosen = _chosen(chosen, sessions)
    elif older_than is not None:
        before_s = time.time() - older_than * 86_400
        chosen = [found for found in chosen if found.changed_s < before_s]
    if not chosen:
        err.print("There is nothing to delete.")
        return
    if not yes and not typer.confirm(f"Delete {len(chosen)} transcripts in {folder}?", err=True):
        err.print("Nothing was deleted.")
        raise typer.Exit(1)
    for found in chosen:
        with writing(found.path):
            found.path.unlink(missing_ok=True)
    err.print(f"{len(chosen)} transcripts are deleted.")


def _stored(folder: Path) -> list[StoredTranscript]:
    from mmpipe.serve.transcripts import TranscriptStore

    if not folder.is_dir():
        raise InputError(f"There is no folder {str(folder)!r}.")
    return TranscriptStore(folder).stored()


def _chosen(stored: list[StoredTranscript], names: list[str]) -> list[StoredTranscript]:
    """Those called by ``names``: sessions, or names of files.

    Raises:
        InputError: one is not there.
    """
    chosen = []
    for name in dict.fromkeys(names):
        found = [one for one in stored if name in (one.session, one.path.name)]
        if not found:
            raise InputError(f"There is no transcript of a session {name!r}. `mmpipe transcripts list` shows them.")
        chosen += found
    return chosen
