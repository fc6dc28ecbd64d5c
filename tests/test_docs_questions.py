"""What docs/questions.md shows is what comes out, but for how sure it is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from typer.testing import CliRunner

from mmpipe import MultimodalQA
from mmpipe.cli import app
from mmpipe.vision.fonts import font_for

PAGE = (Path(__file__).parent.parent / "docs" / "questions.md").read_text("utf-8")


@pytest.fixture(scope="module")
def loaded() -> Iterator[MultimodalQA]:
    with MultimodalQA() as qa:
        yield qa


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, loaded: MultimodalQA) -> Path:
    """Where the files of the page are. The models are loaded once."""

    class Loaded:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> MultimodalQA:
            return loaded

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("mmpipe.pipelines.multimodal_qa.MultimodalQA", Loaded)
    monkeypatch.setattr("mmpipe.MultimodalQA", Loaded, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("koala.jpg", "macaw.jpg"):
        shutil.copy(data / "pictures" / name, tmp_path)
    board, text = Pillow.new("RGB", (700, 160), "white"), "The museum is closed today."
    ImageDraw.Draw(board).text((30, 40), text, "black", font_for(text).font_variant(size=48))
    board.save(tmp_path / "sign.png")
    return tmp_path


def shown() -> list[tuple[str, str]]:
    """(command, what it prints) of the page, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1]) for block in blocks for part in block.split("$ ")[1:]]


def plain(output: str) -> list[Any]:
    """Lines, those of JSON without their figures."""
    rows = [json.loads(line) if line.startswith("{") else line for line in output.splitlines()]
    for row in rows:
        if isinstance(row, dict):
            row.pop("confidence", None)
            row["choices"] = list(row.get("choices", ()))
    return rows


def test_the_commands_print_what_is_shown(folder: Path) -> None:
    ran = 0
    for command, output in shown():
        given, _, piped = command.rpartition(" | ")
        stdin = given.removeprefix("printf ").strip("'").replace("\\n", "\n")
        program, *args = shlex.split(piped)
        if program == "cat":
            (folder / args[0]).write_text(output, "utf-8")
        elif not any(arg.endswith(".wav") for arg in args):  # voices are tested elsewhere
            found = CliRunner().invoke(app, args, input=stdin, env={"COLUMNS": "200"})
            assert plain(found.stdout) == plain(output), (command, found.stderr)
            ran += 1
    assert ran == len(re.findall(r"^\$ .*mmpipe ask", PAGE, re.MULTILINE)) - 1


def test_the_python_prints_what_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/questions.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)
    assert np.asarray(Pillow.open(folder / "why.png")).std() > 0
