"""Passes in bfloat16 have few sizes, because a processor's kernels are compiled, and kept, for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from mmpipe.generation import scheduler
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.options import EngineOptions
from mmpipe.generation.requests import GenerationRequest, Prompt, ScoreRequest
from mmpipe.generation.scheduler import padded

TEXTS = ["What is this? " * n + "x" * n for n in range(1, 20)]


@pytest.fixture
def lm() -> LanguageModel:
    lm = LanguageModel.tiny(seed=3, context_tokens=1024)
    lm.model.to(torch.bfloat16)
    return lm


@pytest.fixture
def sizes(lm: LanguageModel) -> Iterator[list[tuple[int, int]]]:
    """(tokens, logits) of every pass."""
    found: list[tuple[int, int]] = []

    def look(_: object, __: object, kwargs: dict[str, torch.Tensor], out: object) -> None:
        found.append((kwargs["inputs_embeds"].shape[1], len(kwargs["logits_to_keep"])))

    hook = lm.model.register_forward_hook(look, with_kwargs=True)
    yield found
    hook.remove()


def test_few_sizes_stand_for_all_and_waste_little() -> None:
    found = [padded(count) for count in range(1, 2049)]
    assert all(count <= rows for count, rows in enumerate(found, start=1))
    assert all(before <= after for before, after in pairwise(found))
    assert len(set(found[:512])) == 24
    assert all(rows < 2 * count for count, rows in enumerate(found[:16], start=1))
    assert all(rows < count + 32 for count, rows in enumerate(found, start=1))
    assert padded(0) == 0


def test_whatever_is_asked_passes_have_few_sizes(lm: LanguageModel, sizes: list[tuple[int, int]]) -> None:
    with GenerationEngine(lm, EngineOptions(prefix_cache_bytes=0)) as engine:
        requests = [GenerationRequest(Prompt(token_ids=lm.encode(text)), max_new_tokens=5) for text in TEXTS]
        engine.generate(requests)
        score = ScoreRequest(Prompt(token_ids=lm.encode("Is it?")), [lm.encode("yes"), lm.encode("certainly not")])
        engine.score(score).result(20)
    assert {padded(rows) for both in sizes for rows in both} == {rows for both in sizes for rows in both}


def test_padding_changes_no_answer(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _scores(lm)
    monkeypatch.setattr(scheduler, "padded", lambda count: count)
    expected = _scores(lm)
    assert max(expected) - min(expected) > 0.5, "the answers are so alike that an exchange would not show"
    assert found == pytest.approx(expected, abs=0.05)


def _scores(lm: LanguageModel) -> list[float]:
    """Log probabilities of three answers to each text."""
    choices = [lm.encode("yes"), lm.encode("no"), lm.encode("it is not")]
    with GenerationEngine(lm, EngineOptions(prefix_cache_bytes=0)) as engine:
        futures = [engine.score(ScoreRequest(Prompt(token_ids=lm.encode(text)), choices)) for text in TEXTS]
        return [score.mean_logprob for future in futures for score in future.result(20)]


def test_float32_is_not_padded() -> None:
    lm = LanguageModel.tiny(seed=3)
    seen: list[int] = []
    hook = lm.model.register_forward_hook(
        lambda _, __, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    with GenerationEngine(lm) as engine:
        engine.generate([GenerationRequest(Prompt(token_ids=lm.encode("x" * 21)), max_new_tokens=2)])
    hook.remove()
    assert seen == [21, 1]
