"""What the tests of questions about pictures share: models made anew in each, and engines that are made up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmpipe.fusion.strategies import STRATEGIES, Shapes
from mmpipe.generation.language_model import LanguageModel
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.multimodal_qa import FusedModel, MultimodalQA
from mmpipe.stage import ImageEncoder, Recognizer, Synthesizer, TextReader, Translator
from mmpipe.types import (
    Audio,
    Image,
    ImageFeatures,
    Segment,
    Sentence,
    SpeechRequest,
    SpeechWindow,
    TextLine,
    Tier,
)

PICTURES = Path(__file__).parents[2] / "data" / "pictures"


class Colours(ImageEncoder):
    """Sees the mean colours of 4 by 4 parts; classifies by which of three is the strongest. Counts what it computes."""

    name = "colours"
    labels = ("red thing", "green thing", "blue thing")
    identity = "colours 1"
    classifier_weight = np.eye(3, dtype=np.float32)

    def __init__(self) -> None:
        self.seen = 0

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        self.seen += len(items)
        return [self._features(item) for item in items]

    def _features(self, image: Image) -> ImageFeatures:
        rows = np.array_split(image.pixels.astype(np.float32) / 255, 4)
        cells = [
            [part.mean((0, 1)) if part.size else np.zeros(3) for part in np.array_split(row, 4, 1)] for row in rows
        ]
        spatial = np.nan_to_num(np.array(cells, np.float32)).transpose(2, 0, 1)
        pooled = spatial.mean((1, 2))
        return ImageFeatures(pooled, np.ascontiguousarray(spatial), self.classifier_weight @ pooled)


class Ear(Recognizer):
    """Hears the same in everything."""

    languages = frozenset({"en", "pt"})

    def __init__(self, text: str = "What is this?", language: str = "en") -> None:
        self.text, self.language = text, language

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        return [
            Segment(0.0, item.audio.duration_s, self.text, item.options.language or self.language) for item in items
        ]


class Zed(Translator):
    """Portuguese is English with z for s."""

    name = "zed"
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD, ("pt", "en"): Tier.GOOD}

    def run(self, items: Sequence[Sentence]) -> list[str]:
        return [item.text.replace(*("sz" if item.target == "pt" else "zs")) for item in items]


class Beep(Synthesizer):
    """A tenth of a second for each word."""

    name = "beep"
    voices: Mapping[str, Sequence[str]] = {"en": ("beep",), "pt": ("bip",)}

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        tone = np.sin(np.arange(2_400) / 10).astype(np.float32) / 2
        return [Audio(np.tile(tone, len(item.text.split())), self.rate_hz) for item in items]


class Page(TextReader):
    """Finds the same lines in every picture."""

    name = "page"

    def __init__(self, *texts: str) -> None:
        self.sizes: list[tuple[int, int]] = []
        self._lines = tuple(
            TextLine(text, ((10, 20 * n), (90, 20 * n), (90, 20 * n + 16), (10, 20 * n + 16)), 0.9)
            for n, text in enumerate(texts, start=1)
        )

    def run(self, items: Sequence[Image]) -> list[tuple[TextLine, ...]]:
        self.sizes += [(item.width_px, item.height_px) for item in items]
        return [self._lines for _ in items]


def plain(red: int, green: int, blue: int, side_px: int = 40) -> Image:
    return Image(np.full((side_px, side_px, 3), (red, green, blue), np.uint8))


RED, GREEN, BLUE = plain(250, 5, 5), plain(5, 250, 5), plain(5, 5, 250)


def fused(strategy: str = "prefix", seed: int = 0, encoder: ImageEncoder | None = None, **settings: int) -> FusedModel:
    """Random weights. What is in the picture matters much to what is said."""
    language_model = LanguageModel.tiny(seed, context_tokens=2048)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = STRATEGIES[strategy](Shapes(3, (3, 4, 4), 3, language_model.hidden_size), **settings)
    made.eval().requires_grad_(False)
    made.attach(language_model.model)
    return FusedModel(language_model, made, encoder or Colours())


@pytest.fixture
def parts() -> Any:
    """What is defined here, for tests that need more of it than the pipelines below."""
    return sys.modules[__name__]


@pytest.fixture
def encoder() -> Colours:
    return Colours()


@pytest.fixture
def make() -> Iterator[Callable[..., MultimodalQA]]:
    """A pipeline of random weights and made-up engines, closed at the end."""
    made: list[MultimodalQA] = []

    def build(**options: object) -> MultimodalQA:
        own = {name: options.pop(name) for name in ("threshold", "confidence") if name in options}
        given = {"recognizer": Ear(), "translators": [Zed()], "synthesizers": [Beep()], "reader": Page()}
        engines = Engines(**{"fused_model": fused()} | given | options, interactive=True)  # type: ignore[arg-type]
        made.append(MultimodalQA(engines, **{"threshold": 0.0} | own))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for qa in made:
        qa.engines.close()
        qa.close()


@pytest.fixture
def qa(make: Callable[..., MultimodalQA], encoder: Colours) -> MultimodalQA:
    return make(fused_model=fused(encoder=encoder))
