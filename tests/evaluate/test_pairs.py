from __future__ import annotations

import hashlib

from mmpipe.evaluate.fusion import LISTS, pictures
from mmpipe.evaluate.pairs import WORDINGS, AskedOfPair, questions, rates
from mmpipe.fusion.training.questions import wordings


def test_the_pairs_are_the_ones_that_were_scored() -> None:
    asked = [one for which in LISTS for one in questions(pictures(which), {}, which)]
    told = "\n".join(f"{one.pictures} {one.sort} {one.question} {one.accepted} {one.history}" for one in asked)
    assert len(asked) == 9 * (94 + 14 + 63)
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "7d09b0d724a053c1"


def test_no_picture_stands_beside_one_of_its_kind() -> None:
    shown = {one.path: one for one in pictures("stamps")}
    pairs = {one.pictures for one in questions(list(shown.values()), {}, "stamps")}
    assert len({path for pair in pairs for path in pair}) == 2 * len(pairs)
    assert all(shown[a].kinds[-1] != shown[b].kinds[-1] for a, b in pairs)


def test_what_comes_next_is_asked_about_after_the_first_was_named() -> None:
    later = [one for one in questions(pictures("stamps"), {}, "stamps") if one.history]
    assert {one.sort for one in later} == {"next", "next_presence"}
    named_before = 0
    for one in later:
        (turn,) = one.history
        assert turn.pictures == 1
        assert not one.right(turn.answer)
        thing = turn.answer[:-1].split(" ", 1)[-1].lower()
        if one.accepted == (("no",),) and thing in one.question:
            named_before += 1
    assert 30 < named_before < 64  # of 94: from the words alone it cannot be told


def test_no_wording_is_trained_on() -> None:
    several, asked = wordings()["several"], questions(pictures("photos"), {}, "photos")
    trained = {line for lines in several.values() for line in lines}
    trained |= {line for sort in ("name", "presence") for line in wordings()[sort]["questions"]}
    for wording in WORDINGS.values():
        for slots in ({"x": "{a_name}", "nth": "{nth}"}, {"x": "{a_name}", "nth": "first"}):
            assert wording.format(**slots) not in trained
    assert len({one.question for one in asked}) > 30


def test_who_names_both_pictures_tells_neither_from_the_other() -> None:
    for which in LISTS:
        shown = {one.path: one for one in pictures(which)}
        for one in questions(list(shown.values()), {}, which):
            first, second = (shown[path].names[0].removeprefix("@") for path in one.pictures)
            says_all = f"The first picture shows a {first}. The second picture shows a {second}."
            if not one.yes_or_no:
                assert one.right(says_all) == (one.sort == "both" and "@" not in f"{one.accepted}"), one


def test_of_both_pictures_both_must_be_named() -> None:
    both = AskedOfPair(("p", "q"), "both", "What is in the pictures?", (("cat",), ("car", "jeep")))
    which = AskedOfPair(("p", "q"), "which", "Which picture shows a cat?", (("first",),))
    assert both.right("A cat and perhaps a jeep.")
    assert not both.right("A cat.")
    presence = AskedOfPair(("p", "q"), "next_presence", "Is it?", (("no",),))
    assert presence.right("No.")
    assert not presence.right("Yes, there is no doubt.")
    found = rates([both, which, which], ["A cat.", "The first.", "The second."])
    assert (found["both"].value, found["which"].value, found["first"].total) == (0.0, 0.5, 0)
