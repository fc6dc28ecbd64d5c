import random

import pytest

from mmpipe.audio.synthesis.clauses import (
    LINE_PAUSE_S,
    PARAGRAPH_PAUSE_S,
    SENTENCE_PAUSE_S,
    split_clauses,
    width,
)


def texts(text, max_chars=100):
    return [clause.text for clause in split_clauses(text, max_chars)]


def test_each_sentence_is_a_piece_so_that_the_first_is_heard_soon():
    assert texts("Bom dia. Tudo bem? Sim! E «então»… foi.") == ["Bom dia.", "Tudo bem?", "Sim!", "E «então»…", "foi."]


def test_a_mark_inside_a_word_or_a_number_ends_nothing():
    assert texts("O site x.org e o valor 3.5 ficam.") == ["O site x.org e o valor 3.5 ficam."]


def test_a_long_sentence_is_cut_at_its_clauses_and_filled_up():
    sentence = "Quando chove, ficamos em casa; quando não chove, vamos à praia, e à noite voltamos."
    pieces = texts(sentence, 50)
    assert pieces == ["Quando chove, ficamos em casa; quando não chove,", "vamos à praia, e à noite voltamos."]


def test_chinese_is_cut_without_spaces_and_counts_more():
    assert texts("我们去北京。你呢？好的，再见。") == ["我们去北京。", "你呢？", "好的，再见。"]
    assert width("我们") > width("ab")
    assert texts("我们明天去北京大学看书，然后回家吃饭。", 48) == ["我们明天去北京大学看书，", "然后回家吃饭。"]


@pytest.mark.parametrize("max_chars", [1, 7, 30, 250])
def test_nothing_is_dropped_and_nothing_is_too_long(max_chars):
    generator = random.Random(max_chars)
    signs = "aaaaeeeiiooubcdlmnrst     ,.;:!?—…\n«»\"'()我好。，"
    for _ in range(200):
        text = "".join(generator.choices(signs, k=generator.randint(0, 400)))
        clauses = split_clauses(text, max_chars)
        assert "".join("".join(clause.text for clause in clauses).split()) == "".join(text.split())
        assert all(width(clause.text) <= max(max_chars, 4) for clause in clauses)


def test_a_word_longer_than_the_limit_is_cut():
    assert texts("a" * 250) == ["a" * 100, "a" * 100, "a" * 50]


def test_pauses_follow_the_punctuation():
    clauses = split_clauses("Um, dois.\nTrês\n\nQuatro: cinco", 9)
    assert [clause.text for clause in clauses] == ["Um, dois.", "Três", "Quatro:", "cinco"]
    assert clauses[0].pause_s == LINE_PAUSE_S > SENTENCE_PAUSE_S
    assert clauses[1].pause_s == PARAGRAPH_PAUSE_S
    assert 0 < clauses[2].pause_s < SENTENCE_PAUSE_S


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        # the last mark that is early enough, else a word that joins, else any space
        ("Se ele se casasse, com alguém mais amável,", "ele poderia ter sido feito ainda mais."),
        ("Sua chamada é agora a primeira na linha", "e será respondida pelo próximo representante."),
        ("Donaudampfschifffahrtsgesellschaften fahren jeden", "Donnerstag flussabwärts nach Linz."),
    ],
)
def test_the_head_of_a_long_sentence_is_cut_off_where_a_speaker_would_rest(head: str, rest: str) -> None:
    assert [clause.text for clause in split_clauses(f"{head} {rest}", 300, 50)] == [head, rest]


def test_a_head_is_cut_off_only_if_enough_is_left() -> None:
    text = "Todos os nossos representantes estão ocupados agora mesmo. " + "Por favor fique na linha e espere. " * 2
    assert split_clauses(text, 300, 50) == split_clauses(text, 300)
    assert len(split_clauses("a" * 200, 300, 50)) == 1  # no place to cut
