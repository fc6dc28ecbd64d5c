"""What languages are called."""

from __future__ import annotations

import pytest

from mmpipe.errors import LanguageError
from mmpipe.translate.detect import check_language, detect_language
from mmpipe.translate.languages import language_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("pt", "pt"),
        ("PT", "pt"),
        ("por", "pt"),
        ("pt-BR", "pt"),
        ("zh_CN", "zh"),
        (" Portuguese ", "pt"),
        ("ast", "ast"),
    ],
)
def test_a_language_has_many_names(text: str, code: str) -> None:
    assert language_code(text) == code


@pytest.mark.parametrize("text", ["", "xx", "klingon", "-"])
def test_what_is_no_language_is_refused_with_advice(text: str) -> None:
    with pytest.raises(LanguageError, match="mmpipe languages"):
        language_code(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello, how are you today?", "en"),
        ("Olá, tudo bem com você?", "pt"),
        ("¿Dónde está la farmacia más cercana?", "es"),
        ("Guten Tag, meine Damen und Herren", "de"),
        ("你好", "zh"),
        ("こんにちは", "ja"),
        ("Привет, как дела у тебя?", "ru"),
        ("https://example.com/some/english/words Bonjour, comment allez-vous ?", "fr"),
    ],
)
def test_the_language_of_a_sentence_is_found(text: str, code: str) -> None:
    assert detect_language(text) == code


@pytest.mark.parametrize("text", ["hello", "ok", "Hola"])
def test_a_word_is_too_little(text: str) -> None:
    with pytest.raises(LanguageError, match="--from"):
        detect_language(text)


@pytest.mark.parametrize("text", ["", "123 😀", "https://example.com"])
def test_no_words_are_no_language(text: str) -> None:
    with pytest.raises(LanguageError, match="no words"):
        detect_language(text)


PORTUGUESE = "Este é um texto em português que tem bem mais do que sessenta letras, com certeza."


def test_a_text_clearly_in_another_language_is_refused() -> None:
    with pytest.raises(LanguageError, match=r"is in Portuguese. Say --from pt"):
        check_language(PORTUGUESE, "en")


@pytest.mark.parametrize(
    ("text", "claimed"),
    [
        (PORTUGUESE, "pt"),
        (PORTUGUESE, "gl"),  # not known to the detector
        (PORTUGUESE, "es"),  # a neighbour
        ("Bom dia, tudo bem?", "en"),  # too short to contradict anybody
        ("", "en"),
        ("10:30 😀 https://example.com", "en"),
    ],
)
def test_doubt_lets_pass(text: str, claimed: str) -> None:
    check_language(text, claimed)
