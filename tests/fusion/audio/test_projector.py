"""Stacking, projecting, and the folder that a projector is kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmpipe.errors import InputError, WeightsError
from mmpipe.fusion.audio import checkpoint
from mmpipe.fusion.audio.projector import AudioProjector, ProjectorShape, stack_frames
from mmpipe.fusion.checkpoint import AdapterTarget
from mmpipe.generation.language_model import LanguageModel

SHAPE = ProjectorShape(frame_size=4, hidden_size=32, stack=8, hidden=16)
FITS = AdapterTarget("encoder 1", "", "whisper", "tiny")


@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (7, 1), (8, 1), (9, 2), (50, 7)])
def test_frames_stand_side_by_side_in_order_and_zeros_fill_the_last_row(frames: int, rows: int) -> None:
    given = torch.arange(1.0, frames * 4 + 1).reshape(frames, 4)
    stacked = stack_frames(given, 8)
    assert stacked.shape == (rows, 32)
    assert torch.equal(stacked.flatten()[: frames * 4], given.flatten())
    assert not stacked.flatten()[frames * 4 :].any()


def test_a_sound_becomes_one_embedding_for_each_eight_frames_whatever_its_company() -> None:
    projector = AudioProjector(SHAPE).eval()
    first, second = torch.randn(20, 4), torch.randn(8, 4)
    together = projector(torch.cat([stack_frames(first, 8), stack_frames(second, 8)]))
    assert projector.embed(first).shape == (3, 32)
    assert torch.allclose(together[:3], projector.embed(first), atol=1e-6)
    assert torch.allclose(together[3:], projector.embed(second), atol=1e-6)


def test_embeddings_begin_as_large_as_those_of_words() -> None:
    lm, projector = LanguageModel.tiny(), AudioProjector(SHAPE)
    projector.start_from(lm)
    words = lm.model.get_input_embeddings().weight
    assert projector.embed(torch.randn(80, 4)).square().mean() == pytest.approx(words.square().mean().item(), rel=0.01)


@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (4,)])
def test_frames_of_another_encoder_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="Use the encoder that it was trained with"):
        AudioProjector(SHAPE).embed(torch.zeros(shape))


def test_a_shape_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="stack of an audio projector is 0"):
        ProjectorShape(4, 32, stack=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    checkpoint.write(tmp_path / "projector", AudioProjector(SHAPE), FITS)
    return tmp_path / "projector"


def test_a_projector_that_was_kept_does_what_it_did(folder: Path) -> None:
    torch.manual_seed(1)
    made, frames = AudioProjector(SHAPE), torch.randn(30, 4)
    kept = checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")
    assert torch.allclose(kept.embed(frames), made.embed(frames), atol=5e-3)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "projector.safetensors"]


def test_a_projector_for_other_models_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"speech encoder whisper \('encoder 1'\), not for 'encoder 2'"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 2")
    edit(folder, fits={"encoder": "encoder 1", "language_model": "abc", "language_model_name": "big"})
    with pytest.raises(WeightsError, match="language model big"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")


def test_a_damaged_projector_is_refused(folder: Path) -> None:
    content = bytearray((folder / "projector.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "projector.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")
    (folder / "projector.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    edit(folder, shape={"frame_size": 4, "hidden_size": 32, "stack": 4, "hidden": 16})
    with pytest.raises(WeightsError, match="noted shape"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")


def test_what_is_no_projector_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="holds no audio projector"):
        checkpoint.read(folder / "nothing", LanguageModel.tiny(), "encoder 1")
    edit(folder, format=99)
    with pytest.raises(WeightsError, match="format 99"):
        checkpoint.read(folder, LanguageModel.tiny(), "encoder 1")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
