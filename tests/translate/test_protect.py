"""What must come back exactly."""

from __future__ import annotations

import pytest

from mmpipe.translate.protect import apart, mask, number_spans, protected_spans


@pytest.mark.parametrize(
    "item",
    [
        "https://example.com/a?b=c&d=1#e",
        "http://localhost:8080/x_y",
        "www.example.org/path",
        "example.com",
        "john.smith+tag@mail.example.co.uk",
        "😀",
        "👩‍👩‍👧‍👦",
        "👍🏽",
        "🇧🇷",
        "1️⃣",
        "❤️",
        "→",
        "½",
        "™",
        "`foo(bar)`",
        "foo.bar()",
        "snake_case_name",
        "--dry-run",
        "@maria_silva",
        "#hashtag",
        "{name}",
        "{{ }}".replace(" ", "x"),
        "${HOME}",
        "%(count)d",
        "%s",
        "<br/>",
        '<a href="x y">',
    ],
)
def test_items_are_found_whole(item: str) -> None:
    text = f"Please look at {item} before lunch."
    assert [text[start:end] for start, end, _ in protected_spans(text)] == [item]


@pytest.mark.parametrize(
    "text",
    [
        "An ordinary sentence, with a dash - and (brackets).",
        "5 < 6 and 7 > 6",
        "50% of it and/or more",
        "It's 3 p.m. in St. Louis e.g. now.",
        "Olá, ação, naïve café",
        "日本語のテキスト",
    ],
)
def test_ordinary_text_is_left_to_the_engine(text: str) -> None:
    assert protected_spans(text) == []


def test_the_mark_behind_an_address_belongs_to_the_sentence() -> None:
    text = "See https://example.com/a, (or http://b.org/c). Ask a@b.com."
    assert [span[2] for span in protected_spans(text)] == ["https://example.com/a", "http://b.org/c", "a@b.com"]


@pytest.mark.parametrize(
    "number", ["7", "1,234.56", "$1,234.56", "20 €", "R$ 5,00", "5%", "10:30", "24/7", "2024-05-01", "20°", "1.5"]
)
def test_numbers_are_found_with_their_signs(number: str) -> None:
    text = f"It was {number} then."
    assert [text[start:end] for start, end, _ in number_spans(text)] == [number]


def test_tokens_go_out_and_items_come_back() -> None:
    text = "Ask @bob or @ann about 3 things."
    masked = mask(text, protected_spans(text))
    assert masked.text == "Ask ZXA or ZXB about 3 things."
    assert masked.restore("Pergunte a ZXB ou ZXA sobre 3 coisas.") == "Pergunte a @ann ou @bob sobre 3 coisas."


@pytest.mark.parametrize("translated", ["Pergunte a ZXA.", "ZXA ZXA ZXB", "ZXA ZXC", "ZXABLE ZXB"])
def test_a_lost_doubled_or_invented_token_is_noticed(translated: str) -> None:
    text = "Ask @bob or @ann."
    assert mask(text, protected_spans(text)).restore(translated) is None


def test_a_changed_number_is_noticed() -> None:
    masked = mask("It costs 1,234.56 at 10:30.", [])
    assert masked.kept_numbers("Custa 1,234.56 às 10:30.")
    assert not masked.kept_numbers("Custa 1.234,56 às 10:30.")
    assert not masked.kept_numbers("Custa 1,234.56.")


@pytest.mark.parametrize("translated", ["Custa US $ 5 e 20 €.", "Custa $5 e 20 euros.", "Custa $5 e 20."])
def test_a_number_that_lost_its_sign_is_noticed(translated: str) -> None:
    masked = mask("It costs $5 and 20 €.", [])
    assert masked.kept_numbers("Custa $5 e 20 €.")
    assert not masked.kept_numbers(translated)


def test_a_text_that_holds_a_token_gets_others() -> None:
    text = "The ZXA is not @bob."
    masked = mask(text, protected_spans(text))
    assert masked.restore(masked.text) == text
    assert masked.items == ("@bob",)


def test_more_items_than_letters() -> None:
    text = " ".join(f"@user{n}" for n in range(60))
    masked = mask(text, protected_spans(text))
    assert not masked.has_words
    assert masked.restore(masked.text) == text


def test_shouting_is_lowered_around_the_tokens() -> None:
    text = "PLEASE CALL @bob NOW!"
    masked = mask(text, protected_spans(text))
    assert masked.is_shouted
    assert masked.lowered() == "Please call ZXA now!"


@pytest.mark.parametrize("text", ["NASA", "The USA", "OK!", "123", "你好你好你好"])
def test_abbreviations_are_not_shouting(text: str) -> None:
    assert not mask(text, []).is_shouted


def test_a_token_is_a_word_of_its_own() -> None:
    text = "私は東京都に住む"
    masked = mask(text, [(2, 4, "Tokyo")])
    assert masked.text == "私は ZXA 都に住む"
    assert masked.restore("I live in ZXA.") == "I live in Tokyo."


def test_items_that_touch_share_a_token() -> None:
    text = "Ask @bob😀 now"
    masked = mask(text, protected_spans(text))
    assert masked.text == "Ask ZXA now"
    assert masked.items == ("@bob😀",)


def test_pieces_and_items_take_turns() -> None:
    text = "@ann and @bob"
    assert apart(text, protected_spans(text)) == ["", "@ann", " and ", "@bob", ""]
