"""Whole texts, through fakes and through Bergamot."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from mmpipe.errors import InputError, LanguageError, StageError
from mmpipe.stage import Translator
from mmpipe.translate import Glossary, Term, TextTranslator
from mmpipe.types import Sentence, Tier

EN_PT = {("en", "pt"): Tier.GOOD}


class Dictionary(Translator):
    """An engine as a user would write it."""

    name = "dictionary"
    pairs: ClassVar = {("pt", "la"): Tier.GIST}
    words: ClassVar = {"olá": "salve", "mundo": "munde", "gato": "feles", "um": ""}

    def run(self, items: Sequence[Sentence]) -> list[str]:
        return [" ".join(filter(None, (self.words.get(w, w) for w in item.text.split()))) for item in items]


@pytest.fixture(scope="module")
def real() -> Iterator[TextTranslator]:
    from mmpipe.translate.bergamot import BergamotTranslator

    with TextTranslator([BergamotTranslator()]) as translator:
        yield translator


def test_a_users_engine_is_routed_pivoted_and_kept_to_the_glossary(fake: Any) -> None:
    bergamot = fake("bergamot", EN_PT, lambda text: text.replace("hello", "olá").replace("world", "mundo"))
    glossary = Glossary([Term("the cat", "Maximilianus", "en", "la")])
    translator = TextTranslator([bergamot, Dictionary()], glossary)
    assert translator.translate("olá mundo", "pt", "la").text == "salve munde"
    pivoted = translator.translate("hello world , hello the cat", "en", "la")
    assert pivoted.text == "salve munde , salve Maximilianus"
    assert pivoted.route == ("bergamot en>pt", "dictionary pt>la")
    assert pivoted.tier is Tier.GIST


def test_the_same_language_is_returned_unchanged(fake: Any) -> None:
    engine = fake("a", EN_PT)
    translation = TextTranslator([engine]).translate(" As it is.\n", "en", "en")
    assert (translation.text, translation.route, engine.heard) == (" As it is.\n", (), [])


def test_a_pair_that_cannot_be_served_is_an_error_and_never_an_echo(fake: Any) -> None:
    translator = TextTranslator([fake("a", EN_PT)])
    with pytest.raises(LanguageError, match=r"English \(en\) into German \(de\)"):
        translator.translate("Hello", "en", "de")
    assert translator.tier("en", "de") is None
    assert translator.tier("en", "pt") is Tier.GOOD


def test_sentences_reach_the_engine_alone_and_come_back_in_place(fake: Any) -> None:
    engine = fake("a", EN_PT, lambda text: f"<{text}>")
    text = "  - Dr. Who is in.  He waits!\n\n\tLast one.  \n"
    assert TextTranslator([engine]).translate(text, "en", "pt").text == (
        "  - <Dr. Who is in.>  <He waits!>\n\n\t<Last one.>  \n"
    )


def test_many_texts_share_one_call_of_the_engine(fake: Any) -> None:
    calls: list[int] = []

    def runner(engine: Translator, sentences: Sequence[Sentence]) -> list[str]:
        calls.append(len(sentences))
        return engine.run(sentences)

    translator = TextTranslator([fake("a", EN_PT, str.upper)], runner=runner)
    translations = translator.translate_many(["One. Two.", "Three.", "", "123"], "en", "pt")
    assert [t.text for t in translations] == ["ONE. TWO.", "THREE.", "", "123"]
    assert calls == [3]


def test_text_without_words_never_reaches_the_engine(fake: Any) -> None:
    engine = fake("a", EN_PT)
    text = "😀 https://example.com\n12:30\n---\n"
    assert TextTranslator([engine]).translate(text, "en", "pt").text == text
    assert engine.heard == []


PROTECTED = "Write to a.b@c.org or https://x.org/?q=1, {name}: 1,234.56 at 10:30 😀 now."
ITEMS = ["a.b@c.org", "https://x.org/?q=1", "{name}", "1,234.56", "10:30", "😀"]


def _loses_tokens(text: str) -> str:
    return text.replace("ZXB", "")


def _localizes_numbers(text: str) -> str:
    return text.replace("1,234.56", "1.234,56")


@pytest.mark.parametrize("change", [str, _loses_tokens, _localizes_numbers, str.upper])
def test_protected_items_come_back_whatever_the_engine_does(fake: Any, change: Any) -> None:
    text = TextTranslator([fake("a", EN_PT, change)]).translate(PROTECTED, "en", "pt").text
    assert [text.count(item) for item in ITEMS] == [1] * len(ITEMS)
    assert sorted(ITEMS, key=text.find) == ITEMS


def test_numbers_are_in_plain_sight_unless_the_engine_changes_them(fake: Any) -> None:
    plain = fake("a", EN_PT)
    TextTranslator([plain]).translate("I have 2 cats.", "en", "pt")
    assert plain.heard == ["I have 2 cats."]
    meddling = fake("a", EN_PT, lambda text: text.replace("2", "two"))
    assert TextTranslator([meddling]).translate("I have 2 cats.", "en", "pt").text == "I have 2 cats."
    assert meddling.heard == ["I have 2 cats.", "I have ZXA cats."]


def test_what_stands_around_lost_tokens_is_translated_piece_by_piece(fake: Any) -> None:
    engine = fake("a", EN_PT, lambda text: "Olá." if "ZX" in text else text.capitalize().rstrip(".") + ".")
    text = TextTranslator([engine]).translate("Please ask @maria about it.", "en", "pt").text
    assert text == "Please ask @maria about it."


def test_shouting_is_translated_in_lower_case_and_shouted_again(fake: Any) -> None:
    engine = fake("a", EN_PT)
    assert TextTranslator([engine]).translate("CALL @bob NOW PLEASE!", "en", "pt").text == "CALL @bob NOW PLEASE!"
    assert engine.heard == ["Call ZXA now please!"]


def test_long_sentences_go_clause_by_clause(fake: Any) -> None:
    engine = fake("a", EN_PT, lambda text: text[0].upper() + text[1:] + ("" if text.endswith(".") else "."))
    sentence = "It began well, " + "and then it went on for a long while, " * 20 + "and it ended."
    text = TextTranslator([engine]).translate(sentence, "en", "pt").text
    assert text == sentence
    assert len(engine.heard) > 2
    assert max(map(len, engine.heard)) <= 300


def test_glossary_terms_are_forced_and_follow_their_capitals(fake: Any) -> None:
    glossary = Glossary([Term("bus stop", "ponto"), Term("10", "dez")])
    text = TextTranslator([fake("a", EN_PT)], glossary).translate("Bus stop 10, bus stop!", "en", "pt").text
    assert text == "Ponto dez, ponto!"


def test_a_glossary_does_not_reach_into_addresses(fake: Any) -> None:
    glossary = Glossary([Term("example", "exemplo")])
    translator = TextTranslator([fake("a", EN_PT)], glossary)
    assert translator.translate("An example: https://example.com", "en", "pt").text == (
        "An exemplo: https://example.com"
    )


def test_targets_without_spaces_get_none_between_sentences(fake: Any) -> None:
    engine = fake("a", {("en", "zh"): Tier.GOOD}, lambda text: "好。")
    assert TextTranslator([engine]).translate("One. Two.", "en", "zh").text == "好。好。"


def test_an_engine_that_gives_nothing_is_an_error(fake: Any) -> None:
    with pytest.raises(StageError, match=r"a en>pt gave nothing for 'Hello there\.'"):
        TextTranslator([fake("a", EN_PT, lambda text: "")]).translate("Hello there.", "en", "pt")


def test_an_engine_that_miscounts_is_an_error(fake: Any) -> None:
    translator = TextTranslator([fake("a", EN_PT)], runner=lambda engine, sentences: [])
    with pytest.raises(StageError, match="0 translations for 1"):
        translator.translate("Hello", "en", "pt")


def test_the_source_language_is_found_for_each_text(fake: Any) -> None:
    pairs = {("en", "pt"): Tier.GOOD, ("de", "pt"): Tier.GOOD}
    texts = ["Good morning, how are you?", "Guten Morgen, wie geht es dir heute?"]
    found = TextTranslator([fake("a", pairs)]).translate_many(texts, None, "pt")
    assert [translation.source for translation in found] == ["en", "de"]


def test_bytes_that_were_no_text_are_refused(fake: Any) -> None:
    translator = TextTranslator([fake("a", EN_PT)])
    with pytest.raises(InputError, match=r"not valid Unicode at 'caf'"):
        translator.translate("caf\udce9", "en", "pt")
    with pytest.raises(InputError, match="save it as UTF-8"):
        list(translator.stream(["caf\udce9\n"], "en", "pt"))


@pytest.mark.parametrize(
    "text", ["a\0b c", "\u2028", "a\x85b", "\ufeffHello", "e\u0301 \u200b\u200d", "a" * 5000, ". " * 500]
)
def test_odd_text_is_no_trouble(real: TextTranslator, text: str) -> None:
    assert isinstance(real.translate(text, "en", "pt").text, str)


def test_languages_may_be_named_in_other_ways(fake: Any) -> None:
    translation = TextTranslator([fake("a", EN_PT)]).translate("Hello", "English", "pt-BR")
    assert (translation.source, translation.target) == ("en", "pt")


def test_a_stream_gives_each_paragraph_as_soon_as_it_is_complete(fake: Any) -> None:
    asked: list[str] = []

    def lines() -> Iterator[str]:
        for line in ("First one.\n", "\n", "Second, that runs\n", "over.\n"):
            asked.append(line)
            yield line

    stream = TextTranslator([fake("a", EN_PT, str.upper)]).stream(lines(), "en", "pt")
    assert next(stream).text == "FIRST ONE.\n"
    assert len(asked) == 1
    assert "".join(translation.text for translation in stream) == "\nSECOND, THAT RUNS\nOVER.\n"


def test_a_stream_finds_out_its_language_once(fake: Any) -> None:
    pairs = {("en", "pt"): Tier.GOOD, ("fr", "pt"): Tier.GOOD}
    lines = ["OK.\n", "Bonjour, comment allez-vous aujourd'hui ?\n", "Yes.\n"]
    found = list(TextTranslator([fake("a", pairs)]).stream(lines, "auto", "pt"))
    assert {translation.source for translation in found} == {"fr"}
    assert "".join(translation.source_text for translation in found) == "".join(lines)


def test_threads_may_share_a_translator(fake: Any) -> None:
    busy = threading.Lock()

    def alone(text: str) -> str:
        assert busy.acquire(blocking=False), "two threads in one engine"
        try:
            return text.upper()
        finally:
            busy.release()

    translator = TextTranslator([fake("a", EN_PT, alone)])
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(translator.translate("Hi. " * 50, "en", "pt").text))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["HI. " * 50] * 4


def test_engines_that_the_caller_brought_stay_open(fake: Any) -> None:
    engine = fake("a", EN_PT)
    with TextTranslator([engine]):
        pass
    assert not engine.closed


def test_a_real_text_keeps_its_form(real: TextTranslator) -> None:
    text = (
        "# Welcome\n\n"
        "Write to john.smith@example.com or see https://example.com/a?b=c now, {name}! 😀\n"
        "  - Call `foo()` at 10:30 and pay $1,234.56 (about 20 €).\n"
        "  - MEET DR. SMITH AT THE STATION!\n\n"
        "This sentence goes on\nin the next line.\n"
    )
    found = real.translate(text, "en", "pt")
    lines = found.text.split("\n")
    assert [line[:4] for line in lines[:5]] == ["# Be", "", "Escr", "  - ", "  - "]
    assert len(lines) == len(text.split("\n"))
    for item in (
        "john.smith@example.com",
        "https://example.com/a?b=c",
        "{name}",
        "😀",
        "`foo()`",
        "10:30",
        "$1,234.56",
        "20 €",
    ):
        assert found.text.count(item) == 1, item
    assert lines[4] == lines[4].upper()
    assert (found.route, found.tier) == (("bergamot en>pt",), Tier.GOOD)


def test_a_real_long_text_is_not_cut_short(real: TextTranslator) -> None:
    text = " ".join(f"The house number {n} is on the left side of the street." for n in range(40))
    translated = real.translate(text, "en", "pt").text
    assert [int(word) for word in translated.split() if word.isdigit()] == list(range(40))


def test_a_real_glossary_is_honoured(real: TextTranslator) -> None:
    from mmpipe.translate.bergamot import BergamotTranslator

    glossary = Glossary([Term("the bus stop", "a parada do autocarro", "en", "pt")])
    text = TextTranslator([BergamotTranslator()], glossary).translate("Wait at the bus stop.", "en", "pt").text
    assert "a parada do autocarro" in text
