"""What the documentation shows must run as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mmpipe.audio import media

ROOT = Path(__file__).parent.parent


def blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def own_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of docs/engines.md, as a module that can be imported."""
    source = blocks(ROOT / "docs" / "engines.md")[0]
    (tmp_path / "my_engines.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_engines", raising=False)
    return source


def test_the_engine_in_the_docs_is_under_twenty_lines_and_runs_in_the_pipeline(
    own_engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in own_engine.splitlines() if line.strip()]) < 20
    usage = blocks(ROOT / "docs" / "engines.md")[1].replace("tests/data", str(ROOT / "tests" / "data"))
    monkeypatch.chdir(tmp_path)
    exec(compile(own_engine + usage, "docs/engines.md", "exec"), {})
    assert "juna viro" in capsys.readouterr().out
    assert media.load(tmp_path / "out.wav").duration_s > 1


def test_the_engine_in_the_docs_runs_from_the_command_line(own_engine: str, data: Path) -> None:
    from typer.testing import CliRunner

    from mmpipe.cli import app

    clip = data / "librivox" / "sense_and_sensibility_0880.wav"
    found = CliRunner().invoke(app, ["translate", str(clip), "--to", "eo", "--translator", "my_engines:Esperanto"])
    assert found.exit_code == 0, found.stderr
    assert "juna viro" in found.stdout
    assert "esperanto en>eo" in found.stderr


def test_documents_that_are_linked_are_there() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
