"""What all commands share: how errors, progress and log messages reach the person."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from mmpipe.errors import MmpipeError

P = ParamSpec("P")
R = TypeVar("R")

out = Console(highlight=False, soft_wrap=True)  # results: can be piped
err = Console(stderr=True, highlight=False, soft_wrap=True)  # everything else

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended


def results() -> Console:
    """Where results are printed while something moves on ``err``, a progress bar or captions: ``out``. Where both are
    one terminal it is ``err``, since only who draws what moves can print above it."""
    return err if out.is_terminal and err.is_terminal else out


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn an error that mmpipe raised on purpose into one line and an exit code; Ctrl-C into a quiet end."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except MmpipeError as error:
            fail(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            err.print("[yellow]Stopped.[/] What was finished is kept.")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def fail(error: MmpipeError, where: str = "") -> None:
    err.print("[bold red]error:[/] ", end="")
    err.print(f"{where}{error}", markup=False)


def set_up_logging(verbose: int) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = RichHandler(console=err, show_time=False, show_path=verbose > 1, markup=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "urllib3", "filelock", "faster_whisper", "websockets", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # It takes long, and only once: whoever waits is told why, whatever else is logged.
    logging.getLogger("mmpipe.generation.conversion").setLevel(min(level, logging.INFO))


@contextmanager
def downloading() -> Iterator[Callable[[int, int | None, str], None]]:
    """A progress callback for :func:`mmpipe.weights.fetch`: one bar, for whatever is fetched at the moment."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task("", total=None)

        def report(done_bytes: int, total_bytes: int | None, label: str) -> None:
            bars.update(bar, description=label, completed=done_bytes, total=total_bytes)

        yield report


def size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"
