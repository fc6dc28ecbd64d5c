"""English <-> Portuguese, by the real models."""

from __future__ import annotations

import pytest

from mmpipe.errors import StageError
from mmpipe.translate.bergamot import BergamotTranslator
from mmpipe.types import Sentence, Tier


@pytest.fixture(scope="module")
def bergamot() -> BergamotTranslator:
    return BergamotTranslator()


def test_it_translates_both_ways_in_one_call(bergamot: BergamotTranslator) -> None:
    items = [
        Sentence("The museum is closed on Mondays.", "en", "pt"),
        Sentence("A senha deve ter oito caracteres.", "pt", "en"),
        Sentence("Good morning!", "en", "pt"),
    ]
    first, second, third = bergamot.run(items)
    assert "museu" in first
    assert "password" in second.lower()
    assert third == "Bom dia!"


def test_the_wheels_post_editing_is_not_used(bergamot: BergamotTranslator) -> None:
    (text,) = bergamot.run([Sentence("The children are in the garden.", "en", "pt")])
    assert " no jardim" in text


@pytest.mark.parametrize("word", ["Müller", "Łódź", "smörgåsbord", "€50", "½", "日本", "Привет", "😀", "{name}", "C#"])
def test_words_the_model_cannot_spell_come_through(bergamot: BergamotTranslator, word: str) -> None:
    (text,) = bergamot.run([Sentence(f"I have never seen {word} before.", "en", "pt")])
    assert word in text
    assert "nunca" in text


def test_typographic_marks_do_not_hide_the_words(bergamot: BergamotTranslator) -> None:
    curly, plain = bergamot.run(
        [
            Sentence("“Hello,” she said, “it’s late…”", "en", "pt"),
            Sentence('"Hello," she said, "it\'s late..."', "en", "pt"),
        ]
    )
    assert curly == plain


def test_capitals_with_accents_are_read(bergamot: BergamotTranslator) -> None:
    bus, india = bergamot.run([Sentence("Ônibus lotado.", "pt", "en"), Sentence("A Índia é grande.", "pt", "en")])
    assert "Bus" in bus
    assert "India" in india


def test_another_pair_is_refused(bergamot: BergamotTranslator) -> None:
    with pytest.raises(StageError, match="not en>fr"):
        bergamot.run([Sentence("Hello", "en", "fr")])


def test_its_measured_quality_is_good(bergamot: BergamotTranslator) -> None:
    assert bergamot.pairs == {("en", "pt"): Tier.GOOD, ("pt", "en"): Tier.GOOD}


def test_it_can_be_closed_twice(bergamot: BergamotTranslator) -> None:
    bergamot.close()
    bergamot.close()
