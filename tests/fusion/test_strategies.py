from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmpipe.errors import InputError
from mmpipe.fusion.strategies import STRATEGIES, FeatureBatch, Shapes, Strategy, build, register
from mmpipe.generation.language_model import LanguageModel
from mmpipe.types import ImageFeatures
from mmpipe.vision.labels import Label

SHAPES = Shapes(channels=12, spatial=(12, 4, 4), labels=5, hidden_size=32)
SETTINGS = {
    "prefix": {"tokens": 3},
    "additive": {},
    "cross_attention": {"layers": 2, "every": 1, "grid": 2},
    "soft_words": {},
}


def features(count: int, seed: int = 0) -> FeatureBatch:
    random = np.random.default_rng(seed)
    return FeatureBatch.of(
        [
            ImageFeatures(
                random.standard_normal(12).astype(np.float32),
                random.standard_normal((12, 4, 4)).astype(np.float32),
                random.standard_normal(5).astype(np.float32),
            )
            for _ in range(count)
        ]
    )


def spliced(strategy: Strategy, pictures: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings before and after, and where the placeholders were, of rows of two tokens, a picture, three tokens."""
    n = strategy.n_tokens
    placeholders = torch.zeros(pictures, 5 + n, dtype=torch.bool)
    placeholders[:, 2 : 2 + n] = True
    prompt = torch.ones_like(placeholders)
    prompt[:, -1] = False
    before = torch.randn(pictures, 5 + n, 32)
    return before, strategy.place(before, placeholders, prompt, strategy(features(pictures))), placeholders


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_strategy_can_be_made_again_from_its_settings(name: str) -> None:
    strategy = build(name, SHAPES, SETTINGS[name])
    again = build(name, SHAPES, strategy.settings)
    again.load_state_dict(strategy.state_dict())
    assert torch.equal(again(features(2)), strategy(features(2)))


@pytest.mark.parametrize("name", ["prefix", "soft_words"])
def test_pictures_stand_at_their_placeholders_and_nowhere_else(name: str) -> None:
    strategy = build(name, SHAPES, SETTINGS[name])
    before, after, placeholders = spliced(strategy)
    assert torch.equal(after[~placeholders], before[~placeholders])
    assert torch.equal(after[placeholders], strategy(features(2)).reshape(-1, 32))


def test_additive_changes_the_prompt_from_the_picture_on_and_no_answer() -> None:
    before, after, _ = spliced(build("additive", SHAPES, {}))
    changed = (before != after).any(-1)
    assert changed.tolist() == [[False, False, True, True, True, False]] * 2


def test_prefix_of_a_grid_tells_the_places_apart() -> None:
    strategy = build("prefix", SHAPES, {"grid": 2})
    batch = features(1)
    turned = FeatureBatch(batch.pooled, batch.spatial.flip(-1), batch.logits)
    assert strategy.n_tokens == 4
    assert not torch.allclose(strategy(batch), strategy(turned))
    with pytest.raises(InputError, match="4 by 4"):
        build("prefix", SHAPES, {"grid": 5})


def test_cross_attention_leaves_the_model_as_it_is_until_its_gates_open() -> None:
    lm = LanguageModel.tiny()
    strategy = build("cross_attention", SHAPES, SETTINGS["cross_attention"])
    ids = torch.arange(6).unsqueeze(0).expand(2, -1)
    plain = lm.model(ids).logits
    strategy.attach(lm.model)
    memory, sees = strategy(features(1)), torch.zeros(2, 6, 1, dtype=torch.bool)
    sees[1, 3:] = True  # the second row, from its fourth token on
    with torch.no_grad():
        with strategy.attending(memory, sees):
            assert torch.equal(lm.model(ids).logits, plain)
        for block in strategy.blocks.values():
            block.gate.fill_(1.0)
        with strategy.attending(memory, sees):
            looking = lm.model(ids).logits
        assert torch.equal(looking[0], plain[0])
        assert torch.equal(looking[1, :3], plain[1, :3])
        assert not torch.allclose(looking[1, 3:], plain[1, 3:])
        assert torch.equal(lm.model(ids).logits, plain)  # outside, nothing is seen


def test_cross_attention_for_another_model_is_refused() -> None:
    strategy = build("cross_attention", SHAPES, {"layers": 7})
    with pytest.raises(InputError, match="7 layers"):
        strategy.attach(LanguageModel.tiny().model)


def test_soft_words_of_a_sure_picture_are_the_words_of_its_class() -> None:
    lm = LanguageModel.tiny()
    subjects = [Label("", name, (), (kind,)) for name, kind in zip("abcde", "vwxyz", strict=True)]
    strategy = build("soft_words", SHAPES, {"slots": 2, "ranks": 2, "temperatures": [5.0], "learned": 1})
    strategy.start_from(lm, subjects)
    logits = torch.full((1, 5), -20.0)
    logits[0, 3], logits[0, 1] = 20.0, 0.0
    batch = features(1)
    kind, name, kind2, name2, mixed_kind, mixed_name, _ = strategy(FeatureBatch(batch.pooled, batch.spatial, logits))[0]
    for said, word in (
        (kind, " y"),
        (name, " d"),
        (kind2, " w"),
        (name2, " b"),
        (mixed_kind, " y"),
        (mixed_name, " d"),
    ):
        assert torch.cosine_similarity(said, lm.embed(lm.encode(word)).mean(0), dim=0) > 0.9
    assert torch.allclose(name.norm(), lm.model.get_input_embeddings().weight.norm(dim=1).mean(), rtol=1e-3)


def test_soft_words_want_a_classifier() -> None:
    with pytest.raises(InputError, match="no labels"):
        build("soft_words", Shapes(12, (12, 4, 4), 0, 32), {})


def test_a_strategy_of_ones_own_is_one_short_class() -> None:
    @register
    class Mean(Strategy):
        name = "mean-of-channels"
        n_tokens = 1

        @property
        def settings(self) -> dict[str, object]:
            return {}

        def forward(self, features: FeatureBatch) -> Tensor:
            return features.pooled.mean(1, keepdim=True).expand(-1, self.shapes.hidden_size).unsqueeze(1)

    try:
        assert build("mean-of-channels", SHAPES, {})(features(2)).shape == (2, 1, 32)
    finally:
        del STRATEGIES["mean-of-channels"]


def test_unknown_names_and_settings_are_told() -> None:
    with pytest.raises(InputError, match=r"Known: additive, cross_attention, prefix, soft_words"):
        build("projector", SHAPES, {})
    with pytest.raises(InputError, match="depth"):
        build("prefix", SHAPES, {"depth": 3})
