"""``mmpipe live`` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mmpipe.audio import media
from mmpipe.cli import app
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.evaluate.replay_log import read_log
from mmpipe.pipelines.live.sources import recording
from mmpipe.types import Audio

QUIET = {"NO_COLOR": "1", "COLUMNS": "200"}


def run(*args: str | Path, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["live", *map(str, args)], input=stdin, env=QUIET)


def logged(path: Path) -> list[dict[str, Any]]:
    """The log of events: whole, in order, each with the fields that all have."""
    with path.open(encoding="utf-8") as file:
        events = read_log(file)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert isinstance(event["type"], str)
        assert isinstance(event["text"], str)
        assert 0 <= event["start_s"] <= event["end_s"]
        assert event["emitted_s"] >= 0
    return events


def text(events: list[dict[str, Any]], kind: str, **fields: Any) -> str:
    wanted = {"type": kind, **fields}.items()
    return " ".join(event["text"] for event in events if wanted <= event.items())


def test_a_file_at_real_pace_is_captioned_translated_spoken_and_logged(tmp_path: Path, librivox: list[Clip]) -> None:
    log = tmp_path / "events.jsonl"
    found = run("--input", librivox[1].path, "--realtime", "--from", "en", "--to", "pt", "--events", log)
    assert found.exit_code == 0, found.stderr
    events = logged(log)
    assert word_error_rate([librivox[1].text], [text(events, "committed")], "en") <= 0.15
    assert "jovem" in text(events, "translated", final=True)
    assert [event["text"] for event in events if event["type"] == "partial"]
    assert sum(event["duration_s"] for event in events if event["type"] == "spoken") > 0.5
    assert events[-1]["type"] == "ended"
    assert events[-1]["emitted_s"] > media.load(librivox[1].path).duration_s  # both clocks began with the session
    first = next(event for event in events if event["type"] == "committed")
    assert first["end_s"] <= first["heard_until_s"] <= first["emitted_s"]
    assert "jovem" in found.stdout


def test_samples_from_standard_input_are_captioned_and_the_language_is_found(
    tmp_path: Path, librivox: list[Clip]
) -> None:
    samples = media.load(librivox[0].path, 8_000).samples
    log = tmp_path / "events.jsonl"
    found = run("--input", "-", "--rate", "8000", "--events", log, stdin=(samples * 32767).astype("<i2").tobytes())
    assert found.exit_code == 0, found.stderr
    events = logged(log)
    assert word_error_rate([librivox[0].text], [text(events, "committed")], "en") <= 0.2
    assert [event["language"] for event in events if event["type"] == "language"] == ["en"]
    assert "Language: en" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (["--input", "missing.wav"], "There is no file"),
        (["--input", "http://127.0.0.1:1/talk.mp3"], "cannot be read"),
        (["--input", "-"], "standard input"),
        (["--to", "pt", "--between", "en", "pt", "--input", "-"], "leave out 'to'"),
        (["--to", "xx", "--from", "en", "--input", "-"], "xx"),
    ],
)
def test_what_cannot_be_heard_or_translated_is_one_clear_error(arguments: list[str], because: str) -> None:
    found = run(*arguments)
    assert isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code == 1
    message = " ".join(found.stderr.split())
    assert because in message
    assert message.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--from", "EN", "--to", "Portuguese"], {"source": "en", "to": "pt", "between": None}),
        (["--between", "en-US", "pt_BR"], {"source": None, "to": None, "between": ("en", "pt")}),
    ],
)
def test_languages_may_be_called_by_any_of_their_names(
    arguments: list[str], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def options(**fields: Any) -> None:
        given.append(fields)
        raise InputError("no more is wanted to know")

    monkeypatch.setattr("mmpipe.pipelines.live.LiveOptions", options)
    assert run("--input", "-", *arguments).exit_code == 1
    assert expected.items() <= given[0].items()


def test_without_a_microphone_it_says_so_before_models_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    class PortAudioError(Exception):
        pass

    def none(**how: Any) -> None:
        raise PortAudioError("Error querying device -1")

    devices = SimpleNamespace(InputStream=none, PortAudioError=PortAudioError, query_devices=list)
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    monkeypatch.setattr("mmpipe.pipelines.live.LiveModels", None)
    found = run("--to", "pt", "--mute")
    assert found.exit_code == 1
    assert "No microphone can be opened" in " ".join(found.stderr.split())
    found = run("--list-devices")
    assert found.exit_code == 1
    assert "There is no sound device" in " ".join(found.stderr.split())


def test_a_log_that_cannot_be_written_is_named(librivox: list[Clip]) -> None:
    found = run("--input", librivox[1].path, "--events", "/dev/full", "--to", "pt", "--from", "en", "--mute")
    assert found.exit_code == 1
    assert "/dev/full" in found.stderr


def test_ctrl_c_ends_it_although_the_pipe_stays_open_and_keeps_what_was_logged(
    tmp_path: Path, librivox: list[Clip]
) -> None:
    log = tmp_path / "events.jsonl"
    samples = np.concatenate([media.load(librivox[1].path).samples, np.zeros(32_000, np.float32)])
    command = [
        sys.executable,
        "-c",
        "from mmpipe.cli import main; main()",
        "live",
        "--input",
        "-",
        "--events",
        str(log),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | QUIET) as process:
        assert process.stdin is not None
        process.stdin.write((samples * 32767).astype("<i2").tobytes())
        process.stdin.flush()
        while not (log.exists() and '"committed"' in log.read_text()):
            assert process.poll() is None, process.stderr
            select.select([], [], [], 0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    events = logged(log)
    assert "young man" in text(events, "committed")
    assert events[-1]["reason"] == "finished"  # what had been said was recognized to its end


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a recognizer that hears words until there is a sample above 0.9, and then nothing any more."""
    (tmp_path / "failing_engine.py").write_text(
        """
from mmpipe import Recognizer
from mmpipe.types import Segment, Word


class Failing(Recognizer):
    languages = frozenset({"en"})

    def run(self, items):
        return [self.read(item.audio) for item in items]

    def read(self, audio):
        if audio.samples.max() > 0.9:
            raise RuntimeError("the device is lost")
        count = int(audio.duration_s * 2) if audio.samples.any() else 0
        words = tuple(Word(f"word{n}", n / 2, n / 2 + 0.4, 0.9) for n in range(count))
        return Segment(0.0, audio.duration_s, " ".join(word.text for word in words), "en", words)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "failing_engine:Failing"


@pytest.mark.parametrize("from_microphone", [False, True])
def test_a_recognizer_that_fails_for_good_ends_the_command_with_an_error_and_what_was_said(
    tmp_path: Path, librivox: list[Clip], failing: str, monkeypatch: pytest.MonkeyPatch, from_microphone: bool
) -> None:
    said = media.load(librivox[1].path).samples
    said = said * np.float32(0.5 / np.abs(said).max())
    fatal, pause = said.copy(), np.zeros(24_000, np.float32)
    fatal[::1_600] = 0.99
    path = tmp_path / "talk.wav"
    media.save(Audio(np.concatenate([said, pause, fatal, pause])), path)

    class Microphone:
        """Somebody speaks, then nobody."""

        def __init__(self, device: object) -> None: ...

        def __enter__(self) -> Microphone:
            return self

        def __exit__(self, *_: object) -> None: ...

        async def __aiter__(self) -> AsyncIterator[Audio]:
            async for block in recording(path, realtime=False):
                yield block
            async with asyncio.timeout(20):
                await asyncio.Event().wait()

    monkeypatch.setattr("mmpipe.audio.devices.Microphone", Microphone)
    log = tmp_path / "events.jsonl"
    source = [] if from_microphone else ["--input", path]
    found = run(*source, "--from", "en", "--model", failing, "--events", log)
    assert isinstance(found.exception, SystemExit), found.exception
    assert found.exit_code == 1
    assert found.stderr.count("error: The session ended") == 1
    assert "the device is lost" in " ".join(found.stderr.split())
    assert "word0" in found.stdout
    assert logged(log)[-1]["type"] == "ended"


def test_noise_gives_no_caption(tmp_path: Path) -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(16_000 * 5)).astype(np.float32)
    log = tmp_path / "events.jsonl"
    found = run("--input", "-", "--events", log, stdin=(noise * 32767).astype("<i2").tobytes())
    assert found.exit_code == 0, found.stderr
    assert not text(logged(log), "committed")
    assert json.loads(log.read_text().splitlines()[-1])["reason"] == "finished"
