"""The questions: what is held out, and stays so."""

from __future__ import annotations

from collections import Counter

from mmpipe.fusion.audio.questions import HELD_OUT_PERCENT, SpokenQuestion, questions


def test_questions_are_short_and_each_is_there_once() -> None:
    texts = [one.text for one in questions()]
    assert 1400 < len(texts) == len(set(texts)) < 3000
    assert all(3 <= len(text.split()) <= 9 and "{" not in text and text[0].isupper() for text in texts)


def test_about_fifteen_in_a_hundred_are_held_out() -> None:
    share = sum(one.held_out for one in questions()) / len(questions())
    assert abs(100 * share - HELD_OUT_PERCENT) < 3


def test_what_is_held_out_depends_on_the_text_alone() -> None:
    assert (
        SpokenQuestion("What is the capital of Spain?").held_out
        is SpokenQuestion("What is the capital of Spain?", ("Madrid",)).held_out
    )


def test_words_of_held_out_questions_were_heard_in_others() -> None:
    heard = Counter(word for one in questions() if not one.held_out for word in words(one))
    assert {word for one in questions() if one.held_out for word in words(one)} <= set(heard)


def test_yes_and_no_are_asked_for_alike() -> None:
    answers = Counter(one.accepted for one in questions())
    assert answers["yes",] == answers["no",] > 100


def words(one: SpokenQuestion) -> list[str]:
    return one.text.lower().strip("?.").split()
