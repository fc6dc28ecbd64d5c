from __future__ import annotations

import pytest

from mmpipe.pipelines.sentences import SentenceAssembler, sentences, split_segment
from mmpipe.types import Segment, Word


def segment(text: str, start_s: float, language: str = "en", per_word_s: float = 0.5) -> Segment:
    words = tuple(
        Word(word, start_s + n * per_word_s, start_s + (n + 1) * per_word_s - 0.1, 0.9)
        for n, word in enumerate(text.split())
    )
    return Segment(start_s, words[-1].end_s, text, language, words, avg_logprob=-0.2)


def texts(*segments: Segment) -> list[str]:
    return [sentence.text for sentence in sentences(segments)]


def test_a_sentence_that_goes_over_windows_is_put_together() -> None:
    assert texts(
        segment("The leader of the", 0.0), segment("conference has left. Please", 2.2), segment("wait.", 4.3)
    ) == [
        "The leader of the conference has left.",
        "Please wait.",
    ]


def test_an_abbreviation_at_the_end_of_a_window_ends_no_sentence() -> None:
    assert texts(segment("And Mr.", 0.0), segment("John Dashwood had leisure.", 1.2)) == [
        "And Mr. John Dashwood had leisure."
    ]
    assert texts(segment("It was in 1900.", 0.0), segment("He left.", 2.0)) == ["It was in 1900.", "He left."]


def test_sentences_have_the_times_of_their_words() -> None:
    first, second = split_segment(segment("It is late. Mr. Smith has gone home.", 10.0))
    assert (first.text, second.text) == ("It is late.", "Mr. Smith has gone home.")
    assert first.start_s == 10.0
    assert first.end_s == pytest.approx(11.4)
    assert second.start_s == 11.5
    assert [word.text for word in second.words] == ["Mr.", "Smith", "has", "gone", "home."]


def test_without_words_time_is_shared_by_length() -> None:
    first, second = split_segment(Segment(0.0, 10.0, "One two three. Four five six.", "en"))
    assert first.start_s == 0.0
    assert first.end_s == pytest.approx(10 * 14 / 29)
    assert second.end_s == pytest.approx(10.0)


def test_a_long_pause_ends_a_sentence_without_a_full_stop() -> None:
    assert texts(segment("no full stop here", 0.0), segment("and on", 10.0)) == ["no full stop here", "and on"]


def test_a_change_of_language_ends_a_sentence() -> None:
    assert texts(segment("good morning", 0.0), segment("bom dia", 1.0, "pt")) == ["good morning", "bom dia"]


def test_a_sentence_without_end_is_let_go_in_time() -> None:
    assembler = SentenceAssembler()
    found = [sentence for n in range(30) for sentence in assembler.feed(segment("and then he went on and on", n * 3.6))]
    assert len(found) > 3
    assert all(sentence.end_s - sentence.start_s < 25 for sentence in found)


def test_nothing_is_lost_and_nothing_is_held_back_at_the_end() -> None:
    parts = ["He came", "and saw. He", "won? Yes!", "Mr.", "Smith", "did it"]
    found = texts(*(segment(part, 2.0 * n) for n, part in enumerate(parts)))
    assert " ".join(found) == " ".join(parts)


def test_japanese_is_joined_without_spaces() -> None:
    a = Segment(0.0, 1.0, "今日は", "ja")
    b = Segment(1.0, 2.0, "暑いです。", "ja")
    assert texts(a, b) == ["今日は暑いです。"]


def test_it_knows_when_it_holds_nothing() -> None:
    assembler = SentenceAssembler()
    assert list(assembler.feed(segment("One. Two", 0.0)))
    assert not assembler.empty
    assert list(assembler.feed(segment("three.", 1.3)))
    assert assembler.empty
