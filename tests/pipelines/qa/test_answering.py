"""What is made of what the language model says, with one that says what it is told to say."""

from __future__ import annotations

import json
from concurrent.futures import Future
from math import exp, log
from typing import Any

import pytest

from mmpipe.errors import InputError
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.requests import FinishReason, Generation, GenerationRequest, Prompt, Score, ScoreRequest
from mmpipe.generation.streams import GenerationStream
from mmpipe.pipelines.multimodal_qa import AnswerStream, Question
from mmpipe.pipelines.multimodal_qa.answering import REFUSAL, Answerer, Said

PROMPT = Prompt(token_ids=[1])


class Script:
    """An engine that says ``text``, with ``probability``, and holds texts for as likely as ``odds`` tells."""

    def __init__(self, text: str = "", probability: float = 0.9, odds: dict[str, float] | None = None) -> None:
        self.language_model = LanguageModel.tiny()
        self.text, self.probability, self.odds = text, probability, odds or {}

    def submit(self, request: GenerationRequest, *, block: bool = False) -> GenerationStream:
        stream = GenerationStream(lambda: None)
        for piece in self.text:
            stream.push(piece)
        logprobs = (log(self.probability),)
        stream.finish(Generation(self.text, (1,), logprobs, FinishReason.STOP, 1, 0, 1, 0.0, 0.0))
        return stream

    def score(self, request: ScoreRequest, *, block: bool = False) -> Future[list[Score]]:
        texts = [self.language_model.tokenizer.decode(choice[:-1]) for choice in request.choices]
        scored: Future[list[Score]] = Future()
        scored.set_result([Score(log(self.odds.get(text, 1e-9)), 1) for text in texts])
        return scored


def answerer(script: Script, threshold: float = 0.0) -> Answerer:
    return Answerer(script, lambda text, logprobs, pictures: exp(sum(logprobs)), threshold)  # type: ignore[arg-type]


def say(text: str, probability: float = 0.9, threshold: float = 0.0, *, live: bool = True) -> tuple[Said, list[str]]:
    out = AnswerStream()
    question = Question([])
    said = answerer(Script(text, probability), threshold).say(PROMPT, [], question, out, live=live)
    return said, out._pieces


def test_an_answer_below_the_threshold_becomes_a_refusal_and_what_it_was_is_kept() -> None:
    said, told = say("An otter.", probability=0.2, threshold=0.3)
    assert (said.text, said.refused, said.said) == (REFUSAL, True, "An otter.")
    assert said.confidence == pytest.approx(0.2)
    assert told == []  # nothing was told that is taken back
    assert say("An otter.", probability=0.31, threshold=0.3)[0].text == "An otter."


@pytest.mark.parametrize("text", ["I cannot tell.", "I can't tell what colour it is.", "i cannot tell", "", " \n"])
def test_a_refusal_of_the_model_itself_counts_as_one_however_sure_it_is(text: str) -> None:
    said, _ = say(text, probability=0.99)
    assert said.refused
    assert "tell" in said.text


@pytest.mark.parametrize("text", ["A tell-tale.", "I cannot telephone.", "Yes.", "I can tell."])
def test_other_answers_are_no_refusals(text: str) -> None:
    assert not say(text)[0].refused


def test_a_long_answer_is_streamed_from_its_second_sentence_on_and_not_refused() -> None:
    said, told = say("It is Mr. Otter. He swims well.", probability=0.01, threshold=0.5)
    assert not said.refused
    assert "".join(told) == said.text == "It is Mr. Otter. He swims well."
    assert told[0].startswith("It is Mr. O")
    assert len(told) > 5


def test_what_will_be_translated_is_not_streamed() -> None:
    said, told = say("One. Two. Three.", live=False)
    assert said.text == "One. Two. Three."
    assert told == []


def test_choices_are_compared_over_all_their_spellings_and_the_likeliest_comes_first() -> None:
    odds = {"A dog.": 0.2, "dog": 0.1, "Dog.": 0.1, "A cat.": 0.1, REFUSAL: 0.3}
    said = answerer(Script(odds=odds)).choose(PROMPT, ["gato", "cachorro"], ["cat", "dog"], "pt")
    assert (said.text, said.said, said.language) == ("cachorro", "dog", "pt")
    assert list(said.choices) == ["cachorro", "gato"]
    assert said.choices["cachorro"] == pytest.approx(0.8, abs=1e-4)
    assert said.confidence == pytest.approx(0.8 * 0.7, abs=1e-4)  # that it cannot be told is counted there


def test_what_the_model_would_not_have_said_by_itself_can_be_chosen() -> None:
    odds = {"A dog.": 2e-5, "A cat.": 1e-6, REFUSAL: 0.01}  # by itself it would say that it is a beagle
    said = answerer(Script(odds=odds)).choose(PROMPT, ["cat", "dog"], ["cat", "dog"], "en")
    assert (said.text, said.refused) == ("dog", False)
    assert said.confidence > 0.9


def test_that_it_cannot_be_told_may_win_over_all_choices() -> None:
    odds = {"Red.": 0.2, "Blue.": 0.1, REFUSAL: 0.6}
    said = answerer(Script(odds=odds)).choose(PROMPT, ["red", "blue"], ["red", "blue"], "en")
    assert (said.text, said.refused, said.language) == (REFUSAL, True, "en")
    assert said.choices["red"] == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize("choices", [["dog"], ["dog", "dog"], ["dog", " "], "yes"])
def test_choices_that_are_none_are_refused(choices: list[str]) -> None:
    with pytest.raises(InputError, match="hoices"):
        Question([], choices=choices)
    with pytest.raises(InputError, match="twice"):  # what was different before it was translated
        answerer(Script()).choose(PROMPT, ["cão", "cachorro"], ["dog", "dog"], "pt")


def test_choices_and_a_schema_exclude_one_another_and_thresholds_are_probabilities() -> None:
    with pytest.raises(InputError, match="not both"):
        Question([], choices=["yes", "no"], schema={"type": "boolean"})
    with pytest.raises(InputError, match="probability"):
        answerer(Script(), threshold=1.5)


def test_an_answer_follows_a_json_schema(make: Any, parts: Any) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"animal": {"type": "boolean"}, "legs": {"enum": [0, 2, 4]}},
        "required": ["animal", "legs"],
        "additionalProperties": False,
    }
    answer = make().ask("What is this?", parts.RED, schema=schema)
    assert answer.data == json.loads(answer.text)
    assert isinstance(answer.data["animal"], bool)
    assert answer.data["legs"] in (0, 2, 4)
    assert answer.language == "en"
    with pytest.raises(InputError, match="max_new_tokens"):
        make().ask("What is this?", parts.RED, schema=schema, max_new_tokens=3)
    with pytest.raises(InputError, match="schema"):
        make().ask("What is this?", parts.RED, schema={"type": "nonsense"})
