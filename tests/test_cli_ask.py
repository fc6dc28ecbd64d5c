"""``mmpipe ask`` as a person runs it, with the models that mmpipe carries."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from mmpipe import Audio, MultimodalQA
from mmpipe.audio import devices, media
from mmpipe.cli import app
from mmpipe.cli.console import set_up_logging
from mmpipe.evaluate.clips import Clip
from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER
from mmpipe.types import Image
from mmpipe.vision import images

QUIET = {"NO_COLOR": "1", "COLUMNS": "200"}
MMPIPE = [sys.executable, "-c", "from mmpipe.cli import main; main()"]

pytestmark = pytest.mark.skipif(
    not (DEFAULT_ADAPTER / "config.json").exists(), reason="the adapter that mmpipe carries is not there yet"
)


@pytest.fixture(scope="module")
def loaded() -> Iterator[MultimodalQA]:
    with MultimodalQA() as qa:
        yield qa


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch, loaded: MultimodalQA) -> list[dict[str, Any]]:
    """The models are loaded once for all tests here. Gives what each command wanted of them."""
    wanted: list[dict[str, Any]] = []

    class Loaded:
        def __init__(self, _: object, **options: Any) -> None:
            wanted[-1] |= options

        def __enter__(self) -> MultimodalQA:
            return loaded

        def __exit__(self, *_: object) -> None:
            pass

    def engines(**options: Any) -> AbstractContextManager[None]:
        wanted.append(options)
        return nullcontext()

    monkeypatch.setattr("mmpipe.pipelines.engines.Engines", engines)
    monkeypatch.setattr("mmpipe.pipelines.multimodal_qa.MultimodalQA", Loaded)
    return wanted


@pytest.fixture
def koala(data: Path) -> Path:
    return data / "pictures" / "koala.jpg"


@pytest.fixture
def macaw(data: Path) -> Path:
    return data / "pictures" / "macaw.jpg"


def run(*args: str | Path, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["ask", *map(str, args)], input=stdin, env=QUIET)


def refused(*args: str | Path, because: Sequence[str] | str) -> None:
    """One clear error, no traceback, and an exit code that tells."""
    found = run(*args)
    assert isinstance(found.exception, SystemExit), found.exception  # and no other: that would be a traceback
    assert found.exit_code == 1, found.stdout
    message = " ".join(found.stderr.split())
    for part in [because] if isinstance(because, str) else because:
        assert part in message
    assert message.count("error:") == 1


def test_a_question_is_answered_on_standard_output_and_nothing_else_is_there(koala: Path) -> None:
    found = run(koala, "What is this?")
    assert (found.exit_code, found.stdout) == (0, "A koala.\n")
    assert re.fullmatch(r"  \d+% sure\n", found.stderr)


def test_everything_that_is_known_comes_as_json(koala: Path) -> None:
    answer = json.loads(run(koala, "Is it a vehicle?", "--choices", "yes, no", "--json").stdout)
    assert answer["answer"] == "no"
    assert set(answer["choices"]) == {"yes", "no"}
    assert answer["question"] == "Is it a vehicle?"
    assert 0 < answer["confidence"] <= 1
    found = run(koala, "Is it a vehicle?", "--choices", "yes,no")
    assert found.stdout == "no\n"
    assert "yes" in found.stderr


def test_the_answer_may_be_in_another_language_and_spoken(koala: Path, tmp_path: Path) -> None:
    found = run(koala, "É um animal?", "--from", "pt", "--speak", tmp_path / "yes.wav")
    assert (found.exit_code, found.stdout) == (0, "Sim.\n")
    assert media.load(tmp_path / "yes.wav").duration_s > 0.2
    assert run(koala, "Is it an animal?", "--to", "pt").stdout == "Sim.\n"


def test_a_recording_is_taken_for_the_question(koala: Path, tmp_path: Path, librivox: list[Clip]) -> None:
    found = run(koala, librivox[1].path, "--json")
    assert "young man" in json.loads(found.stdout)["question"]


def test_evidence_is_written(koala: Path, tmp_path: Path) -> None:
    found = run(koala, "What is this?", "--evidence", tmp_path / "why.png")
    assert (found.exit_code, found.stdout) == (0, "A koala.\n")
    assert images.load(tmp_path / "why.png").width_px > 600
    assert json.loads((tmp_path / "why.json").read_text())["pictures"][0]["label"] == "koala"


def test_without_a_question_it_is_a_conversation_which_an_error_does_not_end(koala: Path) -> None:
    found = run(koala, stdin="What is this?\n\nIs it an animal?\nÉ?\nIs it a car?\n")
    assert found.exit_code == 0
    assert found.stdout == "A koala.\nYes.\nNo.\n"
    assert found.stderr.count("error:") == 1


def test_a_batch_gives_a_line_for_each_line_in_order_and_tells_what_failed(
    koala: Path, macaw: Path, tmp_path: Path
) -> None:
    (tmp_path / "koala.jpg").write_bytes(koala.read_bytes())
    rows = [
        {"image": "koala.jpg", "question": "What is this?"},
        {"image": "missing.jpg", "question": "What is this?"},
        {"image": [str(macaw)], "question": "Is it a bird?", "choices": ["yes", "no"]},
        {"image": "koala.jpg", "question": "É um animal?", "language": "pt"},
        {"image": "koala.jpg", "question": "What?", "colour": "red"},
        {"image": 7, "question": "What?"},
        {"image": "koala.jpg", "question": "What?", "choices": 5},
        {"image": "koala.jpg", "question": "What?", "choices": [1, 2]},
        {"image": "koala.jpg", "question": "What?", "to": ["pt"]},
        {"image": "koala.jpg", "question": "Is it a bird?", "choices": None, "to": None},
    ]
    batch = tmp_path / "questions.jsonl"
    batch.write_text("\n".join(json.dumps(row) for row in rows) + "\n\nno json\n", encoding="utf-8")
    found = run("--batch", batch)
    assert found.exit_code == 1
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    answers = ["A koala.", None, "yes", "Sim.", None, None, None, None, None, "No.", None]
    assert [line.get("answer") for line in lines] == answers
    assert "missing.jpg" in lines[1]["error"]
    assert "colour" in lines[4]["error"]
    assert ["choices" in lines[at]["error"] for at in (6, 7, 8)] == [True, False, False]
    assert "to" in lines[8]["error"]
    assert "7 of 12" in found.stderr


def test_a_stopped_batch_keeps_the_lines_that_were_finished(koala: Path, tmp_path: Path) -> None:
    batch = tmp_path / "questions.jsonl"
    batch.write_text((json.dumps({"image": str(koala), "question": "What is this?"}) + "\n") * 5000)
    process = subprocess.Popen(
        [*MMPIPE, "ask", "--batch", str(batch)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | QUIET,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    lines = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
    assert 0 < len(lines) < 5000
    assert "kept" in errors
    assert "Traceback" not in errors


def test_the_voice_asks_and_hears(
    koala: Path, monkeypatch: pytest.MonkeyPatch, librivox: list[Clip], loaded: MultimodalQA
) -> None:
    played: list[Audio] = []
    clip = media.load(librivox[1].path)
    sound = np.concatenate([clip.samples, np.zeros(32_000, np.float32)])
    opened = 0

    class Microphone:
        def __enter__(self) -> Microphone:
            nonlocal opened
            opened += 1
            if opened == 2:
                raise KeyboardInterrupt  # the person has had enough
            return self

        def __exit__(self, *_: object) -> None:
            pass

        async def __aiter__(self) -> AsyncIterator[Audio]:
            for at in range(0, len(sound), 1600):
                yield Audio(sound[at : at + 1600])

    class Loudspeaker:
        playing = False

        def __enter__(self) -> Loudspeaker:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def play(self, audio: Audio) -> None:
            played.append(audio)

    monkeypatch.setattr(devices, "Microphone", Microphone)
    monkeypatch.setattr(devices, "Loudspeaker", Loudspeaker)
    found = run(koala, "--voice", "--choices", "yes,no", "--json")
    assert found.exit_code == 130
    assert "young man" in json.loads(found.stdout)["question"]
    assert len(played) == 1
    assert played[0].duration_s > 0.2


def sign(path: Path, text: str) -> Path:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    from mmpipe.vision.fonts import font_for

    board = Pillow.new("RGB", (700, 160), "white")
    ImageDraw.Draw(board).text((30, 40), text, "black", font_for(text).font_variant(size=48))
    images.save(Image(np.asarray(board)), path)
    return path


def test_text_is_read_and_translated_in_its_place_without_a_language_model(
    tmp_path: Path, made: list[dict[str, Any]]
) -> None:
    board, translated = sign(tmp_path / "sign.png", "The museum is closed today."), tmp_path / "placa.png"
    (line,) = json.loads(run(board, "--read", "--json").stdout)["lines"]
    assert line["text"] == "The museum is closed today."
    assert line["confidence"] > 0.8
    found = run(board, "--translate", "pt", "--out", translated)
    assert found.exit_code == 0, found.stderr
    said = run(translated, "--read").stdout.lower()
    assert "museu" in said
    assert "hoje" in said
    assert made == []
    assert "museum" in run(board, "What does it say?").stdout


def test_options_reach_the_pipeline(koala: Path, tmp_path: Path, made: list[dict[str, Any]]) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "boolean"}')
    assert run(koala, "Is it an animal?", "--schema", schema, "--threshold", "0.2").stdout in ("true\n", "false\n")
    assert made == [{"fused_model": None, "interactive": True, "threshold": 0.2}]


def test_wrong_words_are_refused(koala: Path, tmp_path: Path) -> None:
    refused(because="Give pictures")
    refused("What is this?", because="no picture")
    refused(tmp_path / "foto.jpg", "What is this?", because=["foto.jpg", "Check the path"])
    refused(koala, "What?", "--batch", tmp_path / "b.jsonl", because="Give pictures")
    refused("--batch", tmp_path / "b.jsonl", because="b.jsonl")
    refused(koala, "--read", "--translate", "pt", because="different things")
    refused(koala, "What?", "--read", because="pictures only")
    refused(koala, "--translate", "pt", because="--out")
    refused(koala, "--translate", "pt", "--out", tmp_path / "x.jpg", because="PNG")
    refused(koala, "What?", "--out", tmp_path / "x.png", because="--translate")
    refused(koala, "What?", "--choices", "yes", because="two choices")
    refused(koala, "What?", "--schema", tmp_path / "none.json", because="none.json")
    refused(koala, "--evidence", tmp_path / "x.png", because="one question")
    refused(koala, "What?", "--to", "qq", because="qq")
    refused(koala, "--speak", tmp_path / "a.wav", because="one question")
    refused("--batch", tmp_path / "b.jsonl", "--speak", tmp_path / "a.wav", because="one question")


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_the_extra_there_is_one_line_with_the_command_to_install_it(missing: str, koala: Path) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from mmpipe.cli import main; main()"
    command = [sys.executable, "-c", script, "ask", str(koala), "What is this?"]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | QUIET)
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("pip install 'mmpipe[qa]'")
    assert repr(missing) in line


def test_whoever_waits_for_a_conversion_is_told_and_nothing_else_is_logged() -> None:
    set_up_logging(0)
    assert logging.getLogger("mmpipe.generation.conversion").isEnabledFor(logging.INFO)
    assert not logging.getLogger("mmpipe.fusion").isEnabledFor(logging.INFO)
