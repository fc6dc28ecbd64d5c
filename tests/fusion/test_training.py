"""Training on a tiny language model and a made-up classifier of six classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpipe.errors import InputError, WeightsError
from mmpipe.fusion import checkpoint
from mmpipe.fusion.lora import Lora, add_lora, lora_state, merge_lora
from mmpipe.fusion.strategies import FeatureBatch, Shapes, build
from mmpipe.fusion.training.config import TrainingConfig
from mmpipe.fusion.training.data_free import DataFree
from mmpipe.fusion.training.packing import Pack, Packer
from mmpipe.fusion.training.trainer import Fusion, Trainer
from mmpipe.generation.language_model import LanguageModel
from mmpipe.vision.labels import Label

SUBJECTS = [
    Label("", "beagle", (), ("dog", "animal")),
    Label("", "pug", (), ("dog", "animal")),
    Label("", "tabby", (), ("cat", "animal")),
    Label("", "jeep", ("landrover",), ("car", "vehicle")),
    Label("", "limousine", (), ("car", "vehicle")),
    Label("", "website", (), ()),
]
SHAPES = Shapes(16, (16, 2, 2), 6, 32)
FITS = checkpoint.AdapterTarget("encoder 1", "", "encoder", "tiny")


def recipe() -> DataFree:
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    return DataFree(weight, torch.zeros(6), SUBJECTS, (2, 2), seed=3, questions_per_row=4)


def config(**optimizer: Any) -> TrainingConfig:
    settings = {"steps": 6, "batch_pictures": 2, "warmup_steps": 1, "evaluate_every_steps": 3, "mixed_precision": "no"}
    return TrainingConfig.model_validate(
        {
            "strategy": {"name": "prefix", "settings": {"tokens": 2}},
            "lora": {"rank": 2},
            "data": {"recipe": "data-free"},
            "optimizer": settings | optimizer,
        }
    )


def trainer(folder: Path, made: Any = None, **optimizer: Any) -> Trainer:
    torch.manual_seed(0)
    lm = LanguageModel.tiny()
    strategy = build("prefix", SHAPES, {"tokens": 2})
    return Trainer(config(**optimizer), lm, strategy, made or recipe(), folder)


def weights(trained: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trained.trained.items()}


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def test_packed_questions_have_the_loss_of_separate_ones() -> None:
    lm, strategy = LanguageModel.tiny(), build("prefix", SHAPES, {"tokens": 2})
    packer, fusion = Packer(lm, 2), Fusion(lm, strategy)
    first, second = recipe().batch(0, 2)
    packed, wanted, _ = fusion(packer([first, second]))
    alone = [fusion(packer([Pack(p.features, [pair])])) for p in (first, second) for pair in p.pairs]
    assert wanted.sum() == sum(count.sum() for _, count, _ in alone)
    assert packed.item() == pytest.approx(sum(loss.item() for loss, *_ in alone), rel=1e-5)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=60, evaluate_every_steps=30, learning_rate=3e-3)
    made.run()
    first, last = log(tmp_path)[0], log(tmp_path)[-1]
    assert last["validation_loss"] < 0.9 * first["loss"]
    assert last["step"] == 60


def test_a_resumed_run_ends_where_the_whole_run_does(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()

    class InterruptedEvent:
        def __init__(self) -> None:
            self.inner = recipe()

        def batch(self, step: int, pictures: int) -> Sequence[Pack]:
            if step == 4:
                raise KeyboardInterrupt
            return self.inner.batch(step, pictures)

        def validation(self) -> Sequence[Pack]:
            return self.inner.validation()

    cut = trainer(tmp_path / "cut", InterruptedEvent())
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = trainer(tmp_path / "cut")
    resumed.restore()
    resumed.run()
    assert resumed.progress == whole.progress
    for name, value in weights(whole).items():
        assert torch.allclose(value, weights(resumed)[name], atol=1e-6), name


def test_resuming_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        trainer(tmp_path).restore()


def test_it_stops_when_the_validation_loss_rises(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=400, evaluate_every_steps=1, patience=2, learning_rate=1.0, warmup_steps=0)
    made.run()
    assert made.progress.step < 400
    assert made.progress.since_best == 2


def test_only_the_strategy_and_the_low_rank_matrices_are_trained(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    assert all(name.startswith("strategy.") or ".lora_" in name for name in made.trained)
    before = made.lm.embed([1, 2, 3]).clone()
    made.run()
    assert torch.equal(made.lm.embed([1, 2, 3]), before)


def test_exact_is_what_greedy_decoding_would_say(tmp_path: Path) -> None:
    made = trainer(tmp_path, steps=300, evaluate_every_steps=300, learning_rate=1e-2)
    same = Pack(recipe().batch(0, 1)[0].features, [("Is it?", "Yes."), ("Is it not?", "No.")])
    made.recipe = _Always(same)
    made.run()
    assert made.exact([same]) == [True, True]
    other = Pack(same.features, [("Is it?", "No."), ("Is it not?", "No.")])
    assert made.exact([other]) == [False, True]


class _Always:
    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    def batch(self, step: int, pictures: int) -> Sequence[Pack]:
        return [self.pack] * pictures

    def validation(self) -> Sequence[Pack]:
        return [self.pack]


def test_merged_low_rank_matrices_do_what_the_inserted_ones_did() -> None:
    trained, fresh, ids = LanguageModel.tiny().model, LanguageModel.tiny().model, torch.arange(8).unsqueeze(0)
    lora = Lora(rank=2, alpha=4.0)
    add_lora(trained, lora)
    with torch.no_grad():
        for name, value in trained.named_parameters():
            if ".lora_" in name:
                value.normal_(std=0.3)
        merge_lora(fresh, lora_state(trained), lora)
        assert torch.allclose(fresh(ids).logits, trained(ids).logits, atol=1e-3)
        assert not torch.allclose(fresh(ids).logits, LanguageModel.tiny().model(ids).logits, atol=1e-2)


def test_an_adapter_answers_after_loading_as_it_did_in_training(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    made.run()
    checkpoint.save(tmp_path / "adapter", made.strategy, made.state(), FITS, Lora(rank=2))
    lm = LanguageModel.tiny()
    loaded = checkpoint.load(tmp_path / "adapter", lm, "encoder 1")
    batch = made.packer(made.recipe.validation()[:4])
    with torch.no_grad():
        assert Fusion(lm, loaded)(batch)[0].item() == pytest.approx(made.fusion(batch)[0].item(), rel=5e-3)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == ["adapter.safetensors", "config.json"]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    strategy = build("soft_words", SHAPES, {})
    state = {f"strategy.{name}": value.half() for name, value in strategy.state_dict().items()}
    checkpoint.save(tmp_path / "adapter", strategy, state, FITS, None)
    return tmp_path / "adapter"


def test_an_adapter_for_another_encoder_or_language_model_is_refused(adapter: Path) -> None:
    lm = LanguageModel.tiny()
    assert checkpoint.load(adapter, lm, "encoder 1").n_tokens == 22
    with pytest.raises(WeightsError, match="trained for the image encoder 'encoder 1', not for 'encoder 2'"):
        checkpoint.load(adapter, lm, "encoder 2")
    config = json.loads((adapter / "config.json").read_text("utf-8"))
    config["fits"] |= {"language_model": "0123456789abcdef", "language_model_name": "big"}
    (adapter / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(WeightsError, match="trained for the language model big"):
        checkpoint.load(adapter, lm)


def test_a_damaged_adapter_is_refused(adapter: Path) -> None:
    content = bytearray((adapter / "adapter.safetensors").read_bytes())
    content[-1] ^= 1
    (adapter / "adapter.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        checkpoint.load(adapter, LanguageModel.tiny())
    (adapter / "config.json").write_text('{"format": 99}', "utf-8")
    with pytest.raises(WeightsError, match="format 99"):
        checkpoint.load(adapter, LanguageModel.tiny())
    with pytest.raises(WeightsError, match="holds no fusion adapter"):
        checkpoint.load(adapter / "nothing", LanguageModel.tiny())


def test_features_of_pictures_stay_in_their_order() -> None:
    packs = recipe().batch(0, 3)
    batch = Packer(LanguageModel.tiny(), 2)(packs)
    assert torch.equal(batch.features.pooled, torch.cat([pack.features.pooled for pack in packs]))
    assert isinstance(batch.features, FeatureBatch)
    assert batch.placeholders.sum(1).tolist() == [2, 2, 2]
