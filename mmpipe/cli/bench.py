"""``mmpipe bench``: measure speed and quality on real recordings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from mmpipe.cli.console import err, guarded, out

app = typer.Typer(help="Measure speed and quality on real recordings.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Folder with clips.tsv (file, language, text, english) and the recordings.")]
Runs = Annotated[int, typer.Option(help="Runs of each system; medians are reported.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")]
Pictures = Annotated[Path, typer.Option(help="Cache folder for the evaluation images.")]
Adapter = Annotated[Path | None, typer.Option(help="Adapter folder. Default: the one shipped with mmpipe.")]
DATA = Path("tests/data")
PICTURES = Path.home() / ".cache/mmpipe/evaluation"
Keep = Annotated[Path | None, typer.Option(help="Folder to keep the recordings, logs and memory samples in.")]
PACES = "real; busy: without the time that is only waited; virtual: as if computing took no time."
To = Annotated[str, typer.Option(help="Target language; the spoken one for captions only.")]


def _show(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for row in rows:  # each as soon as it is there
            out.print(json.dumps(row, ensure_ascii=False), markup=False, soft_wrap=True)
        return
    rows = list(rows)
    columns = dict.fromkeys(key for row in rows for key in row)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    out.print(table)


def _show_each(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Rows of several sorts: those that follow one another and have the same columns are a table."""
    for _, alike in groupby(rows, key=tuple):
        _show(alike, as_json)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder)


@contextmanager
def _progress(what: str, length_s: float) -> Iterator[Callable[[float], None]]:
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(what, total=length_s)
        yield lambda at_s: bar.update(task, completed=at_s)


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
    """Speak translations, recognize them again: how well is the speech understood?"""
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
    """Speed and memory of recognizing, translating and speaking."""
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


@app.command()
@guarded
def live(
    data: Data = DATA,
    minutes: Annotated[
        float, typer.Option(help="Length of the recording joined from the clips, in minutes.", min=0.1)
    ] = 10,
    to: To = "pt",
    mute: Annotated[bool, typer.Option("--mute", help="Captions only, without voice.")] = False,
    pace: Annotated[Literal["real", "busy", "virtual"], typer.Option(help=PACES)] = "real",
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """Delay, quality and memory of one live session; real clips, replayed at the pace of a microphone."""
    from mmpipe.evaluate import live_bench
    from mmpipe.evaluate.clips import load_clips
    from mmpipe.evaluate.replay import Pace
    from mmpipe.pipelines.live import LiveOptions

    target = to if to != "en" else None
    options = LiveOptions(to=target, source="en", speak=not mute and target is not None, headphones=True)
    with _folder(keep) as folder, _progress("Replaying", 60 * minutes) as progress:
        rows = live_bench.one_session(
            load_clips(data, "en"),
            folder,
            length_s=60 * minutes,
            options=options,
            pace=Pace(pace),
            progress=progress,
        )
        _show(rows, as_json)


@app.command()
@guarded
def sessions(
    data: Data = DATA,
    counts: Annotated[
        str, typer.Option(help="Numbers of mmpipe sessions to measure, comma-separated.")
    ] = "1,2,4,8,12,16,20",
    plain: Annotated[
        str, typer.Option(help="Numbers of plain faster-whisper sessions to measure, comma-separated.")
    ] = "1,2,3,4,6",
    minutes: Annotated[float, typer.Option(help="Length of each session's recording, in minutes.", min=0.1)] = 2,
    to: To = "en",
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """How the delay grows with the number of live sessions, beside plain faster-whisper under the same policy."""
    from mmpipe.evaluate import live_bench
    from mmpipe.evaluate.clips import load_clips
    from mmpipe.pipelines.live import LiveOptions

    with _folder(keep) as folder, _progress("Replaying", 60 * minutes) as progress:
        rows = live_bench.many_sessions(
            load_clips(data, "en"),
            folder,
            counts=[int(n) for n in counts.split(",")],
            plain_counts=[int(n) for n in plain.split(",") if n],
            length_s=60 * minutes,
            options=LiveOptions(to=to if to != "en" else None, source="en"),
            progress=progress,
        )
        _show(rows, as_json)


@app.command("no-speech")
@guarded
def no_speech(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings without speech, such as music.")] = None,
    minutes: Annotated[float, typer.Option(help="Length of each generated sound, in minutes.", min=0.1)] = 2,
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """What a live session hears in silence, noise, keyboard clatter and music: nothing, it should be."""
    from mmpipe.audio.media import load
    from mmpipe.evaluate import live_bench
    from mmpipe.pipelines.live import LiveOptions

    recordings = live_bench.noises(60 * minutes) | {path.stem: load(path) for path in files or ()}
    with _folder(keep) as folder:
        _show(live_bench.no_speech(recordings, folder, LiveOptions()), as_json)


@app.command()
@guarded
def isolation(
    recording: Annotated[Path, typer.Option(help="A recording of about 30 s.")] = DATA / "sense_and_sensibility.flac",
    picture: Annotated[Path, typer.Option(help="A photograph.")] = DATA / "pictures" / "cat.jpg",
    runs: Runs = 20,
    as_json: AsJson = False,
) -> None:
    """What it costs to decode in a process of its own, as servers do with what strangers send."""
    from mmpipe.evaluate import isolation_bench

    _show_each(isolation_bench.isolation(recording, picture, runs), as_json)


@app.command()
@guarded
def generation(
    weights: str = "smollm2-135m",
    dtype: Literal["float32", "bfloat16"] = "float32",
    runs: Runs = 3,
    max_new_tokens: int = 32,
    device: str = "cpu",
    as_json: AsJson = False,
) -> None:
    """Speed of the language model: sixteen questions alone and together, the first token, who waits for whom."""
    from mmpipe.extras import require

    require("torch", "qa", "Answering questions")
    from mmpipe.evaluate import generation_bench

    _show(generation_bench.generation(weights, dtype, runs, max_new_tokens, device), as_json)


@app.command()
@guarded
def calibration(
    simulated: Annotated[int, typer.Option(help="Number of simulated images to fit on.", min=50)] = 400,
    pictures: Pictures = PICTURES,
    adapter: Adapter = None,
    as_json: AsJson = False,
) -> None:
    """Is an answer about a picture right as often as it is said to be, and what does it cost to refuse the others?"""
    from mmpipe.extras import require

    require("torch", "qa", "Answering questions")
    from mmpipe.evaluate import calibration_bench
    from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER

    _show_each(calibration_bench.calibration(pictures, simulated, adapter or DEFAULT_ADAPTER), as_json)


@app.command()
@guarded
def evidence(
    count: Annotated[int, typer.Option(help="Number of images for the deletion test.", min=1)] = 60,
    pictures: Pictures = PICTURES,
    adapter: Adapter = None,
    as_json: AsJson = False,
) -> None:
    """Does the evidence for an answer show what it rests on? Deletion, and pointing at what is shown."""
    from mmpipe.extras import require

    require("torch", "qa", "Answering questions")
    from mmpipe.evaluate import evidence_bench
    from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER

    _show_each(evidence_bench.evidence(pictures, count, adapter or DEFAULT_ADAPTER), as_json)


@app.command()
@guarded
def soak(
    data: Data = DATA,
    minutes: Annotated[float, typer.Option(help="Length of the load, in minutes.", min=0.1)] = 60,
    sessions: Annotated[int, typer.Option(help="Number of concurrent live sessions.", min=1)] = 8,
    voices: Annotated[int, typer.Option(help="Number of these sessions with spoken translation.", min=0)] = 1,
    recording_every: Annotated[float, typer.Option(help="Seconds between recordings; 0 for none.", min=0)] = 60,
    question_every: Annotated[float, typer.Option(help="Seconds between questions; 0 for none.", min=0)] = 8,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Also run hostile clients.")] = True,
    settle: Annotated[
        float, typer.Option(help="Maximum time for the server to become idle again, in minutes.", min=0)
    ] = 7,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="JSON file for all measurements.")] = None,
    keep: Keep = None,
    as_json: AsJson = False,
) -> None:
    """The real server under load for an hour, attacked all the time: memory, descriptors, words, delays over time.

    The exit status is 1 when something does not hold that must.
    """
    from mmpipe.demo.recording_tab import EXAMPLES
    from mmpipe.evaluate import soak as soaking
    from mmpipe.evaluate.clips import load_clips
    from mmpipe.evaluate.soak_material import prepare
    from mmpipe.evaluate.soak_report import as_json as report
    from mmpipe.evaluate.soak_report import broken, rows

    options = soaking.SoakOptions(
        minutes=minutes,
        sessions=sessions,
        voices=min(voices, sessions),
        recording_every_s=recording_every,
        question_every_s=question_every,
        faults=faults,
        settle_s=60 * settle,
        seed=seed,
    )
    with _folder(keep) as folder:
        with err.status("Recognizing the clips offline"):
            material, offline_wer = prepare(load_clips(data, "en"), sorted(EXAMPLES.glob("*.jpg")))
        columns = (BarColumn(20), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=60 * minutes)
            found = soaking.soak(
                options,
                material,
                folder,
                tell=lambda at_s, text: bar.update(task, completed=at_s, description=text),
            )
    found.offline_wer = offline_wer
    if out_file is not None:
        soaking.save(out_file, report(found))
    _show_each(rows(found), as_json)
    if found.interrupted:
        raise KeyboardInterrupt
    if broken(found):
        raise typer.Exit(1)
