from __future__ import annotations

import hashlib

from mmpipe.evaluate.fusion import LISTS, pictures
from mmpipe.evaluate.pairs import AskedOfPair, questions, rates


def test_the_pairs_are_the_ones_that_were_scored() -> None:
    asked = [one for which in LISTS for one in questions(pictures(which), {}, which)]
    told = "\n".join(f"{one.pictures} {one.sort} {one.question} {one.accepted} {one.history}" for one in asked)
    assert len(asked) == 9 * (94 + 14 + 63)
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "17b617953ebd7e51"


def test_no_picture_stands_beside_one_of_its_kind() -> None:
    shown = {one.path: one for one in pictures("stamps")}
    pairs = {one.pictures for one in questions(list(shown.values()), {}, "stamps")}
    assert len({path for pair in pairs for path in pair}) == 2 * len(pairs)
    assert all(shown[a].kinds[-1] != shown[b].kinds[-1] for a, b in pairs)


def test_what_comes_next_is_asked_about_after_the_first_was_named() -> None:
    later = [one for one in questions(pictures("photos"), {}, "photos") if one.history]
    assert {one.sort for one in later} == {"next", "next_presence"}
    for one in later:
        (turn,) = one.history
        assert turn.pictures == 1
        assert not one.right(turn.answer)


def test_of_both_pictures_both_must_be_named() -> None:
    both = AskedOfPair(("p", "q"), "both", "What is in the pictures?", (("cat",), ("car", "jeep")))
    which = AskedOfPair(("p", "q"), "which", "Which picture shows a cat?", (("first",),))
    assert both.right("A cat and perhaps a jeep.")
    assert not both.right("A cat.")
    found = rates([both, which, which], ["A cat.", "The first.", "The second."])
    assert (found["both"].value, found["which"].value, found["first"].total) == (0.0, 0.5, 0)
