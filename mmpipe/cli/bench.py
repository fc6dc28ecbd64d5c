"""``mmpipe bench``: measure speed and quality on real recordings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from mmpipe.cli.console import guarded, out

app = typer.Typer(help="Measure speed and quality on real recordings.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Folder with clips.tsv (file, language, text, english) and the recordings.")]
Runs = Annotated[int, typer.Option(help="Times each system runs; medians are reported.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a row.")]
DATA = Path("tests/data")


def _show(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    rows = list(rows)
    if as_json:
        for row in rows:
            out.print(json.dumps(row, ensure_ascii=False), markup=False)
        return
    columns = dict.fromkeys(key for row in rows for key in row)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    out.print(table)


@app.command()
@guarded
def recognition(
    data: Data = DATA, weights: str = "whisper-base", runs: Runs = 3, threads: int = 2, as_json: AsJson = False
) -> None:
    """Speed and word error rate beside plain faster-whisper on the same weights, interleaved."""
    from mmpipe.evaluate import bench
    from mmpipe.evaluate.clips import load_clips

    _show(bench.recognition(load_clips(data, "en"), weights, runs, threads), as_json)


@app.command("round-trip")
@guarded
def round_trip(data: Data = DATA, to: str = "pt", voice: str | None = None, as_json: AsJson = False) -> None:
    """Speak translations, recognise them again: how well is the speech understood?"""
    from mmpipe.evaluate import bench
    from mmpipe.evaluate.clips import load_clips

    _show(bench.round_trip(load_clips(data, "en"), to, voice), as_json)


@app.command()
@guarded
def chain(
    data: Data = DATA,
    to: str = "pt",
    runs: Runs = 3,
    only: Annotated[str, typer.Option(help="Clips whose path contains this.")] = "librivox",
    as_json: AsJson = False,
) -> None:
    """Speed and memory of recognising, translating and speaking."""
    from mmpipe.evaluate import bench
    from mmpipe.evaluate.clips import load_clips

    clips = [clip for clip in load_clips(data, "en") if only in str(clip.path)]
    _show(bench.chain(clips, to, runs), as_json)


@app.command("into-english")
@guarded
def into_english(data: Data = DATA, languages: str = "es,fr", as_json: AsJson = False) -> None:
    """Translation into English straight from speech, and by way of text: chrF."""
    from mmpipe.evaluate import bench
    from mmpipe.evaluate.clips import load_clips

    _show((row for lang in languages.split(",") for row in bench.into_english(load_clips(data, lang))), as_json)
