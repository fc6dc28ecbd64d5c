"""The real SmolLM2: answers make sense, and do not depend on the company they are written in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmpipe.evaluate.generation_bench import QUESTIONS
from mmpipe.generation.chat import Message, render
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.grammar import GrammarCompiler
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.likelihood import Choices
from mmpipe.generation.requests import FinishReason, Generation, GenerationRequest, Prompt


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.load()


@pytest.fixture(scope="module")
def engine(lm: LanguageModel) -> Iterator[GenerationEngine]:
    with GenerationEngine(lm) as engine:
        yield engine


def asked(lm: LanguageModel, question: str) -> Prompt:
    return Prompt(token_ids=render(lm, [Message("user", question)]).token_ids)


def test_capital_of_france(lm: LanguageModel, engine: GenerationEngine) -> None:
    (answer,) = engine.generate([GenerationRequest(asked(lm, "What is the capital of France?"), 16)])
    assert answer.text == "The capital of France is Paris."
    assert answer.finish is FinishReason.STOP
    assert answer.mean_logprob > -0.5


def test_answers_are_the_same_alone_and_together(lm: LanguageModel, engine: GenerationEngine) -> None:
    requests = [GenerationRequest(asked(lm, question), 6 + 4 * (at % 3)) for at, question in enumerate(QUESTIONS)]
    alone: list[Generation] = [engine.generate([request])[0] for request in requests[:5]]
    # More than there are rows for: the last ones join while the others are under way.
    together = engine.generate([*requests, *requests[:5]])
    assert [answer.token_ids for answer in together[-5:]] == [answer.token_ids for answer in alone]
    assert [answer.token_ids for answer in together[:5]] == [answer.token_ids for answer in alone]


def test_choices_by_likelihood(lm: LanguageModel, engine: GenerationEngine) -> None:
    found = Choices(lm, ["Paris", "London", "Berlin"], whole=False).score(
        engine, asked(lm, "What is the capital of France? Answer with one word.")
    )
    assert max(found, key=lambda choice: choice.probability).text == "Paris"


def test_json_in_a_form(lm: LanguageModel, engine: GenerationEngine) -> None:
    grammar = GrammarCompiler(lm).json(
        {
            "type": "object",
            "properties": {"capital": {"enum": ["Paris", "London", "Madrid"]}, "letters": {"type": "integer"}},
            "required": ["capital", "letters"],
            "additionalProperties": False,
        }
    )
    request = GenerationRequest(asked(lm, "What is the capital of France? Answer in JSON."), 30, grammar=grammar)
    (answer,) = engine.generate([request])
    assert answer.text.startswith('{"capital": "Paris", "letters": ')
    assert answer.finish is FinishReason.STOP
