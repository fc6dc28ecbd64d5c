"""The command as a person runs it: what it prints, what it leaves behind, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mmpipe.audio import media
from mmpipe.cli import app
from mmpipe.evaluate.clips import Clip
from mmpipe.types import Audio

QUIET = {"NO_COLOR": "1", "COLUMNS": "200"}
MMPIPE = [sys.executable, "-m", "mmpipe"]


def run(*args: str | Path, stdin: str = "", **environment: str) -> Result:
    return CliRunner().invoke(app, list(map(str, args)), input=stdin, env=QUIET | environment)


def refused(*args: str | Path, because: Sequence[str] | str, **environment: str) -> None:
    """One clear error, no traceback, and an exit code that tells."""
    found = run(*args, **environment)
    assert isinstance(found.exception, SystemExit), found.exception  # and no other: that would be a traceback
    assert found.exit_code not in (0, 130), found.stdout
    message = " ".join(found.stderr.split())
    for part in [because] if isinstance(because, str) else because:
        assert part in message
    assert message.count("error:") == 1


def test_a_recording_is_transcribed_to_the_screen_and_to_files(tmp_path: Path, librivox: list[Clip]) -> None:
    srt, document = tmp_path / "out.srt", tmp_path / "out.json"
    found = run("transcribe", librivox[1].path, "--srt", srt, "--json", document, "--words", "--entropy")
    assert found.exit_code == 0, found.stderr
    assert "young man" in found.stdout
    assert "-->" in srt.read_text()
    (segment,) = json.loads(document.read_text())
    assert segment["language"] == "en"
    assert segment["entropy_nats"] > 0
    assert segment["words"][-1]["text"] == "man."


def test_several_recordings_go_into_a_folder_and_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, librivox: list[Clip]
) -> None:
    found = run(
        "transcribe", librivox[1].path, tmp_path / "missing.wav", librivox[4].path, "-q", "--txt", tmp_path / "o"
    )
    assert found.exit_code == 1
    assert "missing.wav" in found.stderr
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        f"{librivox[1].path.stem}.txt",
        f"{librivox[4].path.stem}.txt",
    ]


def test_a_recording_is_translated_and_spoken(tmp_path: Path, librivox: list[Clip]) -> None:
    speech, srt = tmp_path / "out.mp3", tmp_path / "out.srt"
    found = run("translate", librivox[1].path, "--to", "pt", "--speak", speech, "--srt", srt, "--bilingual")
    assert found.exit_code == 0, found.stderr
    assert "young man" in found.stdout
    assert "jovem" in found.stdout
    assert "bergamot en>pt" in found.stderr
    assert "real-time factor" in found.stderr
    assert "young man" in srt.read_text()
    assert "jovem" in srt.read_text()
    assert media.load(speech).duration_s > 1.5


def test_text_is_translated_from_the_option_and_from_standard_input() -> None:
    found = run("translate", "--text", "Good morning, my friend.", "--from", "en", "--to", "pt")
    assert (found.exit_code, found.stdout) == (0, "Bom dia, meu amigo.\n")
    found = run("translate", "--from", "en", "--to", "pt", stdin="Good morning.\n\nThank you very much.\n")
    assert found.exit_code == 0
    assert found.stdout.count("\n") == 3
    assert "Muito obrigad" in found.stdout


def test_a_glossary_is_honoured(tmp_path: Path) -> None:
    terms = tmp_path / "terms.tsv"
    terms.write_text("board\tprancha\n", encoding="utf-8")
    found = run("translate", "--text", "The board is here.", "--from", "en", "--to", "pt", "--glossary", terms)
    assert "prancha" in found.stdout


def test_a_text_is_spoken(tmp_path: Path) -> None:
    found = run("speak", "Bom dia.", "--language", "pt", "--voice", "pm_alex", "-o", tmp_path / "out.wav")
    assert found.exit_code == 0, found.stderr
    assert media.load(tmp_path / "out.wav").duration_s > 0.4
    refused("speak", "🙂 …", "-o", tmp_path / "nothing.wav", because="nothing in this text")
    assert not (tmp_path / "nothing.wav").exists()
    voices = run("speak", "--language", "pt", "--list").stdout.split()
    assert {"pf_dora", "pm_alex", "pm_santa"} <= set(voices)


def test_a_known_text_is_aligned(tmp_path: Path, librivox: list[Clip]) -> None:
    text = tmp_path / "text.txt"
    text.write_text(librivox[1].text)
    found = run("align", librivox[1].path, text, "--srt", tmp_path / "out.srt")
    assert found.exit_code == 0, found.stderr
    assert [line.split()[-1] for line in found.stdout.splitlines()] == librivox[1].text.split()


def test_models_languages_and_doctor_say_what_there_is() -> None:
    assert "whisper-base" in run("models").stdout
    languages = run("languages").stdout
    assert "bergamot en>pt" in languages
    assert "good" in languages
    found = run("doctor")
    assert found.exit_code == 0, found.stdout
    assert "kokoro" in found.stdout


def silence(path: Path, duration_s: float) -> Path:
    media.save(Audio(np.zeros(round(16_000 * duration_s), np.float32)), path)
    return path


@pytest.mark.parametrize("command", [["transcribe"], ["translate", "--to", "pt"]], ids=["transcribe", "translate"])
def test_what_is_no_recording_is_refused(tmp_path: Path, command: list[str]) -> None:
    refused(*command, tmp_path / "missing.wav", because=["missing.wav", "no file"])
    refused(*command, tmp_path, because="is a directory")
    empty = tmp_path / "empty.wav"
    empty.touch()
    refused(*command, empty, because="is empty")
    random = tmp_path / "random.mp3"
    random.write_bytes(np.random.default_rng(0).bytes(20_000))
    refused(*command, random, because="cannot be read as sound")


def test_recordings_without_speech_are_refused(tmp_path: Path) -> None:
    refused("translate", "--to", "pt", silence(tmp_path / "minute.wav", 60), because="No speech detected")
    refused("translate", "--to", "pt", silence(tmp_path / "blink.wav", 0.01), because="No speech detected")
    noise = tmp_path / "noise.wav"
    media.save(Audio((0.1 * np.random.default_rng(0).standard_normal(16_000 * 30)).astype(np.float32)), noise)
    refused("transcribe", noise, because="No speech detected")


def test_wrong_options_are_refused(tmp_path: Path, librivox: list[Clip]) -> None:
    clip = librivox[1].path
    refused("translate", clip, because="--to pt")
    refused("translate", clip, "--to", "qq", because="qq")
    refused("translate", clip, "--to", "pt", "--speak", tmp_path / "out.xyz", because=".wav")
    refused("translate", clip, "--to", "pt", "--srt", tmp_path / "no" / "out.srt", because="make it first")
    refused("translate", clip, "--to", "pt", "--mux", tmp_path / "out.avi", because=".mp4")
    refused("translate", clip, "--to", "pt", "--speak", tmp_path / "x.wav", "--voice", "nobody", because="nobody")
    refused("transcribe", clip, "--model", "no-such-model", because="no-such-model")
    refused("transcribe", clip, "--language", "xx", because="'xx'")
    refused("translate", "--text", "hello", clip, "--to", "pt", because="not both")


def test_text_in_another_language_than_said_is_noticed() -> None:
    german = "Guten Morgen, ich möchte bitte zwei Fahrkarten nach Berlin kaufen, und zwar für heute Abend."
    refused("translate", "--text", german, "--from", "en", "--to", "pt", because="German")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which always has no space left")
def test_a_full_disk_is_named(tmp_path: Path, librivox: list[Clip]) -> None:
    full = tmp_path / "out.srt"
    full.symlink_to("/dev/full")
    refused("translate", librivox[1].path, "--to", "pt", "--srt", full, because="No space left")


def test_offline_without_weights_says_how_to_get_them(tmp_path: Path, librivox: list[Clip]) -> None:
    refused(
        "transcribe", librivox[1].path, because="mmpipe pull", MMPIPE_CACHE=str(tmp_path / "cache"), MMPIPE_OFFLINE="1"
    )


@pytest.fixture
def long_talk(tmp_path: Path, librivox: list[Clip]) -> Path:
    pause = np.zeros(32_000, np.float32)
    pieces = [part for clip in librivox for part in (media.load(clip.path).samples, pause)]
    path = tmp_path / "talk.wav"
    media.save(Audio(np.concatenate(pieces)), path)
    return path


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_keeps_what_was_finished_and_resumes(
    tmp_path: Path, long_talk: Path, how: signal.Signals
) -> None:
    srt = tmp_path / "out.srt"
    args = [
        "translate",
        str(long_talk),
        "--to",
        "pt",
        "--from",
        "en",
        "--srt",
        str(srt),
        "--speak",
        str(tmp_path / "o.wav"),
    ]
    environment = os.environ | QUIET
    environment["MMPIPE_CACHE"] = str(shared_cache(tmp_path))
    process = subprocess.Popen(
        [*MMPIPE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    for _ in range(4):  # two sentences, two lines each
        assert process.stdout.readline()
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "--resume" in errors
        assert "Traceback" not in errors
    kept = srt.read_text().count("-->")
    assert kept >= 2
    found = subprocess.run([*MMPIPE, *args, "--resume"], capture_output=True, text=True, env=environment, check=True)
    assert "from an earlier run" in found.stderr
    assert "5 sentences" in found.stderr
    assert srt.read_text().count("-->") > kept
    assert media.load(tmp_path / "o.wav").duration_s > 20


def shared_cache(tmp_path: Path) -> Path:
    """A cache of the test's own whose weights are those that are here already."""
    from mmpipe.weights.settings import cache_root

    root = tmp_path / "mmpipe-cache"
    root.mkdir()
    for entry in cache_root().iterdir():
        if entry.name != "jobs":
            (root / entry.name).symlink_to(entry)
    return root


def test_help_of_every_command_is_there() -> None:
    for command in ("transcribe", "translate", "align", "speak", "pull", "models", "languages", "doctor", "bench"):
        assert run(command, "--help").exit_code == 0
    assert run("--version").stdout.startswith("mmpipe ")


def test_the_command_starts_quickly_enough_to_load_nothing_heavy() -> None:
    code = "import sys, mmpipe.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ctranslate2", "onnxruntime", "av", "numpy"} & set(loaded)
