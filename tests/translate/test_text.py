"""Sentences and clauses."""

from __future__ import annotations

import pytest

from mmpipe.translate.text import clauses, sentence_pieces, split_sentences

PARAGRAPHS = {
    "abbreviations": (
        "en",
        ["Dr. Smith met Mr. J. R. R. Tolkien at 5 p.m. on Jan. 3rd.", "He paid $3.50.", "Fine."],
    ),
    "latin": ("en", ["He said e.g. this one.", "And i.e. that.", "Wait... what?", "Yes!"]),
    "initialisms": (
        "en",
        ["The U.S. economy grew 2.5% in Q3.", "U.S. Steel fell.", "I live in the U.S.", "It is big."],
    ),
    "figures": ("en", ["See Fig. 3 and No. 5, approx. 10 kg.", "I said no.", "They left."]),
    "addresses": (
        "en",
        ["Visit www.example.com.", "Then write to a.b@c.com.", "See https://a.b/c?d=e.", "Version 2.0.1."],
    ),
    "no capitals": ("en", ["no caps here.", "another sentence follows.", "third one"]),
    "portuguese": (
        "pt",
        ["O Sr. Silva e a Sra. Lima moram na Av. Paulista, n. 10.", "Eles são, p. ex., médicos.", "Custa R$ 1.234,56."],
    ),
    "initials": ("pt", ["J. Silva e A. B. Costa.", "Ele veio."]),
    "spanish": ("es", ["El Sr. López vive en EE. UU. desde 1999.", "¿Qué tal?", "¡Bien!", "La Dra. Pérez llegó."]),
    "french": ("fr", ["M. Dupont et Mme. Durand sont arrivés.", "Il a dit : « Bonjour. »", "Puis il est parti."]),
    "german": ("de", ["Dr. Müller kam am 3. Mai z.B. mit dem Zug.", "Am 3. Oktober ist Feiertag.", "Danach nicht."]),
    "catalan": ("ca", ["El Sr. Puig viu a l'Av. Diagonal.", "Què tal?", "Molt bé."]),
    "hindi": ("hi", ["यह एक वाक्य है।", "यह दूसरा है।"]),
    "arabic": ("ar", ["كيف حالك؟", "أنا بخير."]),
}


@pytest.mark.parametrize(("language", "sentences"), PARAGRAPHS.values(), ids=PARAGRAPHS.keys())
def test_sentences_end_where_they_end(language: str, sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences), language) == sentences


def test_chinese_and_japanese_marks_end_sentences_without_spaces() -> None:
    assert split_sentences("今天天气很好。我们去公园吧！你觉得怎么样？", "zh") == [
        "今天天气很好。",
        "我们去公园吧！",
        "你觉得怎么样？",
    ]
    assert split_sentences("今日はいい天気です。行きましょう。", "ja") == ["今日はいい天気です。", "行きましょう。"]


@pytest.mark.parametrize(("language", "sentences"), PARAGRAPHS.values(), ids=PARAGRAPHS.keys())
def test_nothing_is_lost(language: str, sentences: list[str]) -> None:
    text = "  " + "   ".join(sentences) + " \t"
    assert "".join(sentence_pieces(text, language)) == text


def test_a_language_nobody_knows_is_split_at_common_marks() -> None:
    assert split_sentences("Ana. Beta! Gama?", "xx") == ["Ana.", "Beta!", "Gama?"]


LONG = (
    "We went to the market, and then we bought some apples, because they were cheap, and after that we walked home "
    "through the park; the sun was shining, and nobody wanted to work at https://example.com/a,b,c;d even though."
)


@pytest.mark.parametrize("max_chars", [25, 60, 120])
def test_clauses_fit_and_make_up_the_sentence(max_chars: int) -> None:
    parts = clauses(LONG, max_chars)
    assert "".join(parts) == LONG
    assert all(len(part.strip()) <= max_chars or "https://" in part for part in parts)


def test_clauses_are_cut_at_marks_before_words() -> None:
    assert clauses(LONG, 130)[0].rstrip().endswith((",", ";"))


def test_an_address_is_never_cut() -> None:
    assert sum("https://example.com/a,b,c;d" in part for part in clauses(LONG, 25)) == 1


def test_a_short_sentence_is_one_clause() -> None:
    assert clauses("Short, and sweet.", 300) == ["Short, and sweet."]


def test_text_without_spaces_is_cut_too() -> None:
    parts = clauses("字" * 100, 30)
    assert "".join(parts) == "字" * 100
    assert max(map(len, parts)) <= 30
