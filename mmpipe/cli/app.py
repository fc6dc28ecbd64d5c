"""The application and its commands, each in a module of its own subject."""

from __future__ import annotations

from typing import Annotated

import typer

import mmpipe
from mmpipe.cli import ask, bench, demo, keys, live, recordings, serve, speech, train, transcripts, weights
from mmpipe.cli.console import out, set_up_logging

app = typer.Typer(
    name="mmpipe",
    help="Listens, looks, translates, answers and speaks, on your own machine.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"mmpipe {mmpipe.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Increase verbosity (-vv for debug output).")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    set_up_logging(verbose)


app.command()(recordings.transcribe)
app.command()(recordings.translate)
app.command()(recordings.align)
app.command()(live.live)
app.command()(ask.ask)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(speech.speak)
app.command()(weights.pull)
app.command()(weights.models)
app.command()(speech.languages)
app.command()(weights.doctor)
app.add_typer(bench.app, name="bench")
app.add_typer(train.app, name="train")
app.add_typer(keys.app, name="keys")
app.add_typer(transcripts.app, name="transcripts")


def main() -> None:
    app()
