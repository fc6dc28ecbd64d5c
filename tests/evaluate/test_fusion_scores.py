"""The carried adapter on three photographs, through all that ``mmpipe train score`` does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpipe.evaluate import fusion_scores
from mmpipe.evaluate.fusion import Shown
from mmpipe.fusion.checkpoint import DEFAULT_ADAPTER
from mmpipe.vision.efficientnet import EfficientNetLite

PICTURES = Path(__file__).parents[1] / "data" / "pictures"
SHOWN = [
    Shown("koala.jpg", ("koala",), ("animal", "mammal"), ("panda",)),
    Shown("macaw.jpg", ("macaw", "parrot"), ("animal", "bird"), ("toucan",)),
    Shown("coffee.jpg", ("espresso", "coffee", "cup"), ("drink",), ("soup",)),
]


def test_an_adapter_is_scored_alone_and_in_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fusion_scores.lists, "pictures", lambda _: SHOWN)
    monkeypatch.setattr(fusion_scores, "fetch_pictures", lambda *_: PICTURES)
    scores = json.loads(
        json.dumps(fusion_scores.score_adapters([DEFAULT_ADAPTER], EfficientNetLite(), tmp_path, ["three"]))
    )
    single, paired = scores["three"], scores["three in pairs"]
    assert single["encoder"]["name"] == {"rate": 1.0, "low": pytest.approx(0.44, abs=0.01), "high": 1.0, "of": 3}
    assert single["soft_words"]["name"]["rate"] == single["cascade"]["name"]["rate"] == 1.0
    assert single["soft_words"]["beyond"]["rate"] == 1.0
    assert single["soft_words"]["presence"]["of"] == 6
    assert set(single["soft_words"]["advantage"]) == {"name", "presence", "category"}
    assert {sort: paired["soft_words"][sort]["rate"] for sort in ("first", "second", "both", "next")} == dict.fromkeys(
        ("first", "second", "both", "next"), 1.0
    )
    assert paired["soft_words"]["next_presence"]["of"] == 2
