"""Several recordings at a time: where each is written, and what is printed."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mmpipe.cli import app, recordings
from mmpipe.types import Segment, Tier, TranslatedSegment, Translation, Word

COMMANDS = pytest.mark.parametrize("command", [["transcribe"], ["translate", "--to", "pt"]], ids=lambda words: words[0])


def refused(*args: str | Path) -> str:
    """The one error of a command that did nothing."""
    found = CliRunner().invoke(app, list(map(str, args)), env={"NO_COLOR": "1", "COLUMNS": "500"})
    assert isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code == 1
    assert found.stderr.count("error:") == 1
    return " ".join(found.stderr.split())


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The same name on two days. No model is loaded for them."""

    def load(*args: object, **options: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.setattr("mmpipe.pipelines.transcription.Transcriber", load)
    monkeypatch.setattr("mmpipe.pipelines.speech_translation.SpeechTranslator", load)
    paths = [tmp_path / day / name for day, name in (("monday", "talk.wav"), ("tuesday", "talk.mp3"))]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    return paths


@COMMANDS
def test_two_recordings_that_would_be_written_to_one_file_are_refused(
    tmp_path: Path, talks: Sequence[Path], command: Sequence[str]
) -> None:
    message = refused(*command, *talks, "--srt", tmp_path / "subs")
    assert str(talks[0]) in message
    assert str(talks[1]) in message
    assert not (tmp_path / "subs").exists()


@COMMANDS
def test_a_file_where_a_folder_is_needed_is_refused(
    tmp_path: Path, talks: Sequence[Path], command: Sequence[str]
) -> None:
    (tmp_path / "out.srt").write_text("kept")
    message = refused(*command, talks[0], tmp_path / "other.wav", "--srt", tmp_path / "out.srt")
    assert "name a folder" in message
    assert (tmp_path / "out.srt").read_text() == "kept"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path, talks: Sequence[Path]) -> None:
    (tmp_path / "file").touch()
    assert "Cannot write" in refused(
        "transcribe", talks[0], tmp_path / "other.wav", "--txt", tmp_path / "file" / "texts"
    )


@pytest.mark.parametrize("options", [["--txt", "out.txt"], ["--dub"], ["--srt", "a.srt", "--json", "b.json"]])
def test_what_goes_for_recordings_only_is_refused_for_a_text(options: list[str]) -> None:
    message = refused("translate", "--text", "Good morning.", "--from", "en", "--to", "pt", *options)
    assert "for recordings only" in message
    assert all(name in message for name in options if name.startswith("--"))


def test_lines_of_recordings_that_are_worked_on_at_the_same_time_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(recordings, "out", Console(file=printed, soft_wrap=True))
    together = threading.Barrier(4)

    def show(name: str) -> None:
        together.wait(20)
        for n in range(200):
            recordings.out.print(recordings._line(Segment(float(n), n + 1.0, f"text {n} of {name}", "en"), f"{name}: "))

    names = [f"{letter} [final].wav" for letter in "abcd"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(show, names))
    lines = printed.getvalue().splitlines()
    expected = [f"{name}: 00:{n // 60:02}:{n % 60:02}.000 text {n} of {name}" for name in names for n in range(200)]
    assert sorted(lines) == sorted(expected)


def test_a_translation_stands_below_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Segment(1.0, 2.0, "Good [sic] morning.", "en", (Word("Good", 1.0, 1.5, 0.9),))
    translation = Translation("Good [sic] morning.", "Bom dia.", "en", "pt", (), Tier.GOOD)
    assert recordings._line(TranslatedSegment(source, translation), "a.wav: ").plain.splitlines() == [
        "a.wav: 00:00:01.000 Good [sic] morning.",
        "                    Bom dia.",
    ]
