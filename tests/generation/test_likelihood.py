import math

import pytest
import torch

from mmpipe.errors import InputError
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.likelihood import Choices
from mmpipe.generation.options import EngineOptions
from mmpipe.generation.requests import GenerationRequest, Prompt, ScoreRequest

TEXTS = ["a", "cat", "a much longer choice than that", "b", "dog", "日本"]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.tiny(seed=2)


def expected_logprob(lm: LanguageModel, prompt: list[int], choice: list[int]) -> float:
    logprobs = lm.model(torch.tensor([[*prompt, *choice]])).logits[0].log_softmax(-1).detach()
    return sum(float(logprobs[len(prompt) - 1 + at, token]) for at, token in enumerate(choice))


@pytest.mark.parametrize("stretch", [1, 8, 512])
def test_scores_are_those_of_each_choice_alone(lm: LanguageModel, stretch: int) -> None:
    prompt, choices = lm.encode("What do you see?"), [lm.encode(text) for text in TEXTS]
    with GenerationEngine(lm, EngineOptions(prefill_tokens=stretch, idle_prefill_tokens=stretch)) as engine:
        scores = engine.score(ScoreRequest(Prompt(token_ids=prompt), choices)).result()
    assert [score.logprob for score in scores] == pytest.approx(
        [expected_logprob(lm, prompt, choice) for choice in choices], abs=1e-3
    )
    assert [score.tokens for score in scores] == [len(choice) for choice in choices]


def test_scoring_shares_passes_with_answers(lm: LanguageModel) -> None:
    request = GenerationRequest(Prompt(token_ids=lm.encode("hello")), 20)
    prompt, choices = lm.encode("What do you see?"), [lm.encode(text) for text in TEXTS]
    with GenerationEngine(lm) as engine:
        (alone,) = engine.generate([request])
        stream = engine.submit(request)
        scored = engine.score(ScoreRequest(Prompt(token_ids=prompt), choices))
        assert stream.result().token_ids == alone.token_ids
        assert scored.result()[1].logprob == pytest.approx(expected_logprob(lm, prompt, choices[1]), abs=1e-3)


def test_many_choices_are_scored_however_prompts_are_shared(lm: LanguageModel) -> None:
    choices = [lm.encode(f"choice number {number} of them") for number in range(20)]
    prompt = Prompt(token_ids=lm.encode("hello"))
    with GenerationEngine(lm) as engine:
        expected = [score.logprob for score in engine.score(ScoreRequest(prompt, choices)).result()]
    with GenerationEngine(lm, EngineOptions(prefill_tokens=256, idle_prefill_tokens=64)) as engine:
        long = engine.submit(GenerationRequest(Prompt(token_ids=lm.encode("y")), 300))
        next(iter(long), None)  # while another is being answered, more is read in a pass than otherwise
        scored = engine.score(ScoreRequest(prompt, choices)).result()
        long.cancel()
    assert [score.logprob for score in scored] == pytest.approx(expected, abs=1e-4)


def test_probabilities_of_choices_sum_to_one(lm: LanguageModel) -> None:
    prompt = Prompt(token_ids=lm.encode("Which?"))
    with GenerationEngine(lm) as engine:
        found = Choices(lm, TEXTS).score(engine, prompt)
    assert [choice.text for choice in found] == TEXTS
    assert sum(choice.probability for choice in found) == pytest.approx(1)
    best = max(found, key=lambda choice: choice.probability)
    assert best.logprob == max(choice.logprob for choice in found)
    ends = expected_logprob(lm, lm.encode("Which?"), [*lm.encode("cat"), lm.turn_end_id])
    assert found[1].logprob == pytest.approx(ends, abs=1e-3)


def test_spellings_of_a_choice_add_up(lm: LanguageModel) -> None:
    prompt = lm.encode("Is it?")
    one = {text: math.exp(expected_logprob(lm, prompt, lm.encode(text))) for text in ("yes", "Yes", "no", "No")}
    with GenerationEngine(lm) as engine:
        yes, _ = Choices(lm, [("yes", "Yes"), ("no", "No")], whole=False).score(engine, Prompt(token_ids=prompt))
    assert yes.probability == pytest.approx((one["yes"] + one["Yes"]) / sum(one.values()), rel=1e-3)


def test_mean_does_not_favour_the_short(lm: LanguageModel) -> None:
    prompt = Prompt(token_ids=lm.encode("Which?"))
    with GenerationEngine(lm) as engine:
        by_sum = Choices(lm, ["a", "a much longer choice"]).score(engine, prompt)
        by_mean = Choices(lm, ["a", "a much longer choice"], by="mean").score(engine, prompt)
    assert by_sum[1].probability < 0.01 < by_mean[1].probability


def test_choices_that_cannot_be_compared_are_refused(lm: LanguageModel) -> None:
    with pytest.raises(InputError, match="at least two"):
        Choices(lm, ["only"])
    with pytest.raises(InputError, match="none of them empty"):
        Choices(lm, ["a", ""])
    with pytest.raises(InputError, match="'a' is given twice"):
        Choices(lm, ["a", ["b", "a"]])


def test_long_choices_count_for_the_limit(lm: LanguageModel) -> None:
    with GenerationEngine(lm) as engine, pytest.raises(InputError, match=r"has 500 tokens, and 30"):
        engine.score(ScoreRequest(Prompt(token_ids=[1] * 500), [[1] * 30, [2]]))
