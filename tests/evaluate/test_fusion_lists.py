from __future__ import annotations

import hashlib

import pytest

from mmpipe.evaluate.fusion import (
    LISTS,
    Asked,
    Rate,
    advantage,
    calibration_error,
    pictures,
    questions,
    ranking,
    rates,
    refused,
    right,
)

MEMBERS = {kind: ["one of them"] for kind in ("dog", "cat", "car", "chair", "ship", "boat", "spider", "butterfly")}


def test_the_lists_are_the_ones_that_were_scored() -> None:
    assert _asked("stamps", "photos") == (189 + 28, 2170, "1bad5904902344ad")
    assert _asked("held_out") == (127, 1270, "791bd532002f46ad")


def _asked(*lists: str) -> tuple[int, int, str]:
    """How many pictures and questions, and the digest of the questions."""
    shown = [pictures(which) for which in lists]
    asked = [one for each in shown for one in questions(each, MEMBERS)]
    told = "\n".join(f"{one.picture} {one.sort} {one.question} {one.accepted}" for one in asked)
    return sum(map(len, shown)), len(asked), hashlib.sha256(told.encode()).hexdigest()[:16]


@pytest.mark.parametrize("which", LISTS)
def test_pictures_are_listed_once_and_not_taken_for_what_they_show(which: str) -> None:
    shown = pictures(which)
    assert len({one.path for one in shown}) == len(shown)
    assert not [one.path for one in shown if {*one.names} & {*one.confusable}]


def test_an_answer_counts_when_it_holds_an_accepted_name_as_whole_words() -> None:
    name = Asked("p", "name", "What is it?", ("cat", "t-shirt"))
    assert right(name, "A Cat.")
    assert right(name, "Perhaps a t-shirt, a kind of clothing.")
    assert not right(name, "A catfish.")
    presence = Asked("p", "presence", "Is there a cat?", ("no",))
    assert right(presence, "No.")
    assert not right(presence, "Nothing like it. No.")
    assert not right(presence, "I cannot tell.")
    assert refused("I cannot tell.")


def test_rates_compare_the_same_things_asked_in_both_ways() -> None:
    asked = [
        Asked("p", "presence", "a", ("yes",)),
        Asked("p", "presence", "b", ("no",)),
        Asked("p", "presence", "c", ("no",), paraphrase=True),
        Asked("p", "beyond", "d", ("cannot tell",)),
    ]
    found = rates(asked, ["Yes.", "I cannot tell.", "No.", "Blue."])
    assert (found["presence"].right, found["presence"].total) == (1, 2)
    assert found["paraphrased"] == Rate(1, 1)
    assert found["plainly"] == Rate(0, 1)
    assert found["refused"] == Rate(1, 2)
    assert found["beyond"] == Rate(0, 1)


def test_wilson_intervals() -> None:
    assert Rate(5, 10).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Rate(0, 10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_the_advantage_over_another_system_is_of_the_same_questions() -> None:
    asked = [Asked(str(n), "name", "What?", ("cat",)) for n in range(20)]
    gain, low, high = advantage(asked, ["cat"] * 15 + ["dog"] * 5, ["cat"] * 5 + ["dog"] * 15, "name")
    assert gain == 0.5
    assert 0.2 < low < 0.5 < high < 0.8


def test_calibration_and_ranking_of_confidence() -> None:
    assert calibration_error([True, False, True, False], [0.55, 0.55, 0.95, 0.95]) == pytest.approx(0.25)
    assert ranking([True, False], [0.9, 0.1]) == 1.0
    assert ranking([True, False], [0.5, 0.5]) == 0.5
