"""The language of a question, told by its little words."""

from __future__ import annotations

import pytest

from mmpipe.errors import LanguageError
from mmpipe.evaluate import fusion as lists
from mmpipe.pipelines.multimodal_qa.question_language import question_language

QUESTIONS = {
    "pt": ["É um animal?", "O que é isto?", "Há um cachorro na foto?", "Qual é a cor do carro?", "O que estou vendo?"],
    "es": ["¿Qué es esto?", "¿Hay un perro en la foto?", "¿Es un animal?", "Que es esto?", "¿Es un perro o un gato?"],
    "fr": [
        "Qu'est-ce que c'est ?",
        "Qu’est-ce que c’est ?",
        "C'est un animal ?",
        "Est-ce un chien ?",
        "Y a-t-il un chat ?",
    ],
    "it": ["Che cos'è?", "È un animale?", "C'è un cane?", "Di che colore è?", "È un cane o un gatto?"],
    "ca": ["Què és això?", "Hi ha un gos a la foto?"],
    "ro": ["Ce este asta?", "Vezi un câine?"],
    "de": ["Was ist das?", "Gibt es hier einen Hund?"],
    "ja": ["この写真には何が写っていますか？"],
}


@pytest.mark.parametrize("language", QUESTIONS)
def test_short_questions_are_enough(language: str) -> None:
    assert {question: question_language(question, sure=True) for question in QUESTIONS[language]} == dict.fromkeys(
        QUESTIONS[language], language
    )


def test_no_english_question_of_the_evaluation_is_taken_for_another_language() -> None:
    asked = {one.question for which in ("stamps", "photos") for one in lists.questions(lists.pictures(which), {})}
    assert len(asked) > 500
    assert {question for question in asked if question_language(question, sure=True) != "en"} == set()


@pytest.mark.parametrize("text", ["", "?", "koala?", "Name it", "a T-shirt.", "espresso or consomme?", "🐱"])
def test_what_speaks_for_no_language_is_english(text: str) -> None:
    assert question_language(text, sure=True) == "en"


def test_letters_that_english_has_not_are_not_guessed_at() -> None:
    with pytest.raises(LanguageError, match="--from pt"):
        question_language("É?", sure=True)
    assert question_language("É?", sure=False) == "en"
