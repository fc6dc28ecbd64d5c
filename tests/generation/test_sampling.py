import math
from collections import Counter

import pytest
import torch
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from mmpipe.errors import InputError
from mmpipe.generation.sampling import Sampler, SamplingOptions, _nucleus


def test_default_takes_the_likeliest() -> None:
    assert Sampler(SamplingOptions()).choose(torch.tensor([0.1, 3.0, 2.9]), []) == 1


def test_same_seed_same_choices() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0))

    def choices(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingOptions(temperature=1.0, seed=seed))
        return [sampler.choose(logits, []) for _ in range(20)]

    assert choices(7) == choices(7)
    assert choices(7) != choices(8)
    assert choices(None) != choices(None)


def test_choices_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0])
    sampler = Sampler(SamplingOptions(temperature=1.0, seed=0))
    counts = Counter(sampler.choose(probabilities.log(), []) for _ in range(5000))
    assert [counts[i] / 5000 for i in range(4)] == pytest.approx(probabilities.tolist(), abs=0.03)
    cold = Sampler(SamplingOptions(temperature=0.05, seed=0))
    assert {cold.choose(probabilities.log(), []) for _ in range(100)} == {0}


@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])  # from nearly flat, where the nucleus is huge, to peaked
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.9), (5, 1.0), (50, 0.5), (0, 0.01)])
def test_what_is_left_is_what_transformers_would_leave(spread: float, top_k: int, top_p: float) -> None:
    logits = spread * torch.randn(2000, generator=torch.Generator().manual_seed(1))
    expected = logits[None]
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    _, ids = _nucleus(logits, top_k, top_p)
    assert sorted(ids.tolist()) == expected[0].isfinite().nonzero().flatten().tolist()


def test_repetition_penalty_makes_what_was_said_less_likely() -> None:
    sampler = Sampler(SamplingOptions(repetition_penalty=2.0))
    assert sampler.choose(torch.tensor([3.0, 2.0, 1.0]), [0, 0]) == 1
    assert sampler.choose(torch.tensor([-1.0, -1.5, -5.0]), [0]) == 1
    assert sampler.choose(torch.tensor([3.0, 2.0, 1.0]), []) == 0


def test_forbidden_tokens_are_never_drawn() -> None:
    logits = torch.tensor([5.0, -math.inf, 4.0])
    sampler = Sampler(SamplingOptions(temperature=5.0, seed=0, top_p=0.999))
    assert 1 not in {sampler.choose(logits, []) for _ in range(200)}


@pytest.mark.parametrize(
    "options", [{"temperature": -1}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0}, {"repetition_penalty": 0}]
)
def test_option_outside_its_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        SamplingOptions(**options)  # type: ignore[arg-type]
