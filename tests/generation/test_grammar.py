import json

import pytest

from mmpipe.errors import InputError
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.grammar import GrammarCompiler
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.requests import FinishReason, GenerationRequest, Prompt
from mmpipe.generation.sampling import SamplingOptions

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.tiny(seed=4)


@pytest.fixture(scope="module")
def compiler(lm: LanguageModel) -> GrammarCompiler:
    return GrammarCompiler(lm)


def test_answers_keep_the_schema_whatever_the_model_would_say(lm: LanguageModel, compiler: GrammarCompiler) -> None:
    grammar = compiler.json(SCHEMA)
    wild = [SamplingOptions(temperature=3.0, seed=seed) for seed in range(8)]
    with GenerationEngine(lm) as engine:
        answers = engine.generate(
            [
                GenerationRequest(Prompt(token_ids=lm.encode("Describe it.")), 80, options, grammar=grammar)
                for options in (SamplingOptions(), *wild)
            ]
        )
    for answer in answers:
        assert answer.finish is FinishReason.STOP
        found = json.loads(answer.text)
        assert found["colour"] in {"red", "green"}
        assert found["count"] in range(10)
    assert len({answer.text for answer in answers}) > 1


def test_answer_that_is_cut_off_says_so(lm: LanguageModel, compiler: GrammarCompiler) -> None:
    request = GenerationRequest(Prompt(token_ids=lm.encode("Go.")), 5, grammar=compiler.json(SCHEMA))
    with GenerationEngine(lm) as engine:
        (answer,) = engine.generate([request])
    assert answer.finish is FinishReason.LENGTH
    assert answer.text == '{"col'


def test_what_cannot_be_kept_is_refused(compiler: GrammarCompiler) -> None:
    with pytest.raises(InputError, match="JSON schema cannot be used"):
        compiler.json({"type": "colour"})
