"""The prompt and what is made of the answers, with a server of our own: Gemma's weights need its terms accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmpipe.errors import LicenseError, StageError
from mmpipe.translate.llama import EXAMPLES, PAIRS, GemmaTranslator, LlamaTranslator
from mmpipe.types import Sentence, Tier


class Server:
    """Completes with what ``answer`` makes of the request."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []

    def handle_completions(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, dict) else {"choices": [{"text": answer}]}


def _last_line(request: dict[str, Any]) -> str:
    return str(request["prompt"]).split("\n")[-2]


def test_the_model_is_shown_examples_and_stops_at_the_end_of_the_line() -> None:
    server = Server(lambda request: " What time is it?\n")
    engine = LlamaTranslator(Path("none"), server=server)
    assert engine.run([Sentence("¿Qué\nhora es?", "es", "en")]) == ["What time is it?"]
    (request,) = server.requests
    assert request["prompt"].startswith(f"Spanish: {EXAMPLES['es'][0]}\nEnglish: {EXAMPLES['en'][0]}\n\n")
    assert request["prompt"].endswith("\n\nSpanish: ¿Qué hora es?\nEnglish:")
    assert request["stop"] == ["\n"]
    assert request["temperature"] == 0.0


def test_answers_come_in_order() -> None:
    engine = LlamaTranslator(Path("none"), server=Server(lambda request: _last_line(request)[-1]), parallel=4)
    assert engine.run([Sentence(f"frase {n}", "es", "en") for n in range(10)]) == [str(n) for n in range(10)]


def test_an_echo_is_tried_once_more() -> None:
    server = Server(lambda request: "Guten Morgen liebe Leute!" if request["temperature"] == 0 else "Good morning!")
    engine = LlamaTranslator(Path("none"), server=server)
    assert engine.run([Sentence("Guten Morgen, liebe Leute.", "de", "en")]) == ["Good morning!"]


def test_an_echo_is_never_passed_on() -> None:
    engine = LlamaTranslator(Path("none"), server=Server(lambda request: _last_line(request).partition(": ")[2]))
    with pytest.raises(StageError, match="gave back the German text"):
        engine.run([Sentence("Guten Morgen, liebe Leute.", "de", "en")])


def test_names_may_stay_as_they_are() -> None:
    engine = LlamaTranslator(Path("none"), server=Server(lambda request: " Anna Karenina"))
    assert engine.run([Sentence("Anna Karenina", "de", "en")]) == ["Anna Karenina"]


def test_an_error_of_the_server_is_told() -> None:
    engine = LlamaTranslator(Path("none"), server=Server(lambda request: {"error": {"message": "too long"}}))
    with pytest.raises(StageError, match="too long"):
        engine.run([Sentence("Hallo", "de", "en")])


def test_the_examples_are_complete() -> None:
    assert {len(set(sentences)) for sentences in EXAMPLES.values()} == {4}
    assert all("en" in pair for pair in PAIRS)


def test_gemma_is_not_fetched_before_its_terms_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path))
    monkeypatch.delenv("MMPIPE_ACCEPT_LICENSE", raising=False)
    with pytest.raises(LicenseError, match="--accept-license"):
        GemmaTranslator()


def test_what_was_not_measured_is_experimental() -> None:
    engine = LlamaTranslator(Path("none"), server=Server(str))
    assert set(engine.pairs.values()) == {Tier.EXPERIMENTAL}
