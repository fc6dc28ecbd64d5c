"""``mmpipe train fusion`` from a configuration and pictures to an adapter, on a tiny language model."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from mmpipe.cli.app import app
from mmpipe.errors import InputError
from mmpipe.fusion import checkpoint
from mmpipe.fusion.training.config import TrainingConfig
from mmpipe.fusion.training.jsonl import FeatureTable, Jsonl, read
from mmpipe.fusion.training.packing import Pack
from mmpipe.generation.language_model import LanguageModel
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures

CONFIG = """
language_model = "tiny"
[strategy]
name = "prefix"
settings = { grid = 2 }
[lora]
rank = 2
[data]
recipe = "jsonl"
train = "train.jsonl"
validation = "train.jsonl"
test = "train.jsonl"
[optimizer]
steps = 150
batch_pictures = 2
learning_rate = 5e-3
warmup_steps = 5
evaluate_every_steps = 50
mixed_precision = "no"
"""


class Colours(ImageEncoder):
    """Features that are the picture's mean colour, in four quarters."""

    identity = "colours 1"
    runs = 0

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        Colours.runs += len(items)
        made = []
        for item in items:
            mean = item.pixels.reshape(-1, 3).mean(0).astype(np.float32) / 255
            made.append(ImageFeatures(mean, np.tile(mean[:, None, None], (1, 2, 2)), np.zeros(0, np.float32)))
        return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Pillow.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    rows = [{"image": f"{name}.png", "question": "Colour?", "answer": name} for name in ("red", "blue")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (tmp_path / "config.toml").write_text(CONFIG, "utf-8")
    monkeypatch.setattr("mmpipe.cli.train._encoder", lambda _: Colours())
    monkeypatch.setattr(LanguageModel, "load", classmethod(lambda cls, *_, **__: cls.tiny()))
    return tmp_path


def test_an_adapter_is_trained_from_a_configuration_and_says_where_it_comes_from(folder: Path) -> None:
    run = CliRunner().invoke(app, ["train", "fusion", str(folder / "config.toml"), "--out", str(folder / "out")])
    assert run.exit_code == 0, run.output
    adapter = folder / "out" / "adapter"
    told = json.loads((adapter / "provenance.json").read_text("utf-8"))
    assert told["test"] == {"exact": 1.0, "questions": 2}  # red is told from blue
    assert told["config"]["strategy"]["name"] == "prefix"
    assert told["sha256"] == json.loads((adapter / "config.json").read_text("utf-8"))["sha256"]
    assert len(told["commit"].rstrip("+")) == 40 or told["commit"] == "unknown"
    assert str(folder) not in json.dumps(told)
    assert checkpoint.load(adapter, LanguageModel.tiny(), "colours 1").n_tokens == 4


def test_a_training_that_is_told_to_end_keeps_what_it_learned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Jsonl.batch

    def batch(recipe: Jsonl, step: int, pictures: int) -> Sequence[Pack]:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(recipe, step, pictures)

    monkeypatch.setattr(Jsonl, "batch", batch)
    command = ["train", "fusion", str(folder / "config.toml"), "--out", str(folder / "out")]
    assert CliRunner().invoke(app, command).exit_code == 130
    assert json.loads((folder / "out/adapter/provenance.json").read_text("utf-8"))["steps"] == 7
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state, _: state.unlink(), "nothing to resume"),
        (lambda state, _: state.write_bytes(b"x"), "damaged, or of another configuration"),
        (
            lambda _, config: config.write_text(config.read_text("utf-8").replace("rank = 2", "rank = 3"), "utf-8"),
            "damaged, or of another configuration",
        ),
        (
            lambda _, config: config.write_text(config.read_text("utf-8").replace('test = "', 'test = "mis'), "utf-8"),
            "Cannot read",
        ),
    ],
)
def test_a_training_that_cannot_go_on_leaves_the_adapter_as_it_was(
    folder: Path, spoil: Callable[[Path, Path], object], said: str
) -> None:
    config, out = folder / "config.toml", folder / "out"
    config.write_text(CONFIG.replace("steps = 150", "steps = 4"), "utf-8")
    command = ["train", "fusion", str(config), "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    before = {path.name: path.read_bytes() for path in (out / "adapter").iterdir()}
    spoil(out / "state.safetensors", config)
    run = CliRunner().invoke(app, [*command, "--resume"])
    assert run.exit_code == 1
    assert said in " ".join(run.stderr.split())
    assert {path.name: path.read_bytes() for path in (out / "adapter").iterdir()} == before


@pytest.mark.parametrize("missing", ["torch", "transformers"])
@pytest.mark.parametrize("command", ["fusion", "score", "spoken", "score-spoken"])
def test_without_the_extra_there_is_one_line_with_the_command_to_install_it(
    command: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    arguments = [str(tmp_path), *(["--out", str(tmp_path)] if command in ("fusion", "spoken") else [])]
    run = CliRunner().invoke(app, ["train", command, *arguments])
    assert run.exit_code == 1
    assert "pip install 'mmpipe[train]'" in run.stderr


def test_mistakes_in_the_configuration_are_named(folder: Path) -> None:
    path = folder / "config.toml"
    for wrong, said in (
        (CONFIG.replace("steps = 150", "step = 150"), "optimizer.step"),
        (CONFIG.replace('recipe = "jsonl"', 'recipe = "csv"'), "data.recipe"),
        (CONFIG.replace('train = "train.jsonl"\n', ""), r"data\.train"),
        (CONFIG.replace('recipe = "jsonl"', 'recipe = "data-free"'), "reads no files"),
        ("steps =", "not a TOML file"),
    ):
        path.write_text(wrong, "utf-8")
        with pytest.raises(InputError, match=said):
            TrainingConfig.read(path)
    with pytest.raises(InputError, match="Cannot read"):
        TrainingConfig.read(folder / "nowhere.toml")


def test_mistakes_in_the_questions_are_named_with_their_line(folder: Path) -> None:
    path = folder / "bad.jsonl"
    good = (folder / "train.jsonl").read_text("utf-8")
    for line, said in (('{"image": "red.png"}', "line 3.*question"), ("{", "line 3"), ("[]", "line 3")):
        path.write_text(f"{good}{line}\n", "utf-8")
        with pytest.raises(InputError, match=said):
            read(path)
    path.write_text(json.dumps({"image": "gone.png", "question": "?", "answer": "!"}), "utf-8")
    with pytest.raises(InputError, match=r"no picture .*gone\.png"):
        read(path)


def test_each_pass_sees_every_picture_once_and_features_are_computed_once(folder: Path) -> None:
    Colours.runs = 0
    table = FeatureTable(lambda paths: Colours().run([_image(path) for path in paths]), grid=2)
    recipe = Jsonl(folder / "train.jsonl", folder / "train.jsonl", table, seed=1)
    for step in range(4):
        assert {pair for pack in recipe.batch(step, 2) for pair in pack.pairs} == {
            ("Colour?", "red"),
            ("Colour?", "blue"),
        }
    assert Colours.runs == 2


def _image(path: Path) -> Image:
    return Image(np.asarray(Pillow.open(path)))
