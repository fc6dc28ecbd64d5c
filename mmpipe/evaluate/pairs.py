"""Are two pictures kept apart? The pictures of a list in pairs, shown together or in two turns of a conversation.

Who stands beside whom, and what is asked, is drawn by the name of the list: the same everywhere. No wording is in the
training templates. In the second turn the history holds the right answer of the first, whatever a model had said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from mmpipe.evaluate.fusion import Rate, Shown, accepted_names, asked_as, first_word, rate, says
from mmpipe.fusion.training.multi_image_questions import ORDINALS
from mmpipe.fusion.training.packing import Turn
from mmpipe.fusion.training.questions import capital

PairSort = Literal["first", "second", "both", "presence", "which", "next", "next_presence"]
#: The last two are about a picture that is shown after another was talked about.
PAIR_SORTS: tuple[PairSort, ...] = ("first", "second", "both", "presence", "which", "next", "next_presence")

WORDINGS: Mapping[str, str] = {
    "name": "What is it that the {nth} picture shows?",
    "both": "What is to be seen in these two pictures?",
    "presence": "Does {x} appear in the {nth} picture?",
    "which": "In which of the two can {x} be seen?",
    "before": "What does the photo depict?",
    "next": "What am I looking at now?",
    "next_presence": "Can you spot {x} in this one?",
}
_YES, _NO = (("yes",),), (("no",),)


@dataclass(frozen=True, slots=True)
class AskedOfPair:
    """A question about two pictures. ``accepted``: an answer is right that has one name of each group, in any order,
    and none of ``others``."""

    pictures: tuple[str, str]
    sort: PairSort
    question: str
    accepted: tuple[tuple[str, ...], ...]
    others: tuple[str, ...] = ()
    history: tuple[Turn, ...] = ()

    @property
    def yes_or_no(self) -> bool:
        return self.sort in ("presence", "next_presence")

    def right(self, answer: str) -> bool:
        if self.yes_or_no:
            return first_word(answer) in self.accepted[0]
        return all(says(answer, names) for names in self.accepted) and not says(answer, self.others)


def questions(shown: Sequence[Shown], members: Mapping[str, Sequence[str]], seed: str) -> list[AskedOfPair]:
    """Nine questions about each pair. ``members``: kind -> names of what is of this kind."""
    random = Random(seed)  # noqa: S311
    asked = []
    for pair in _paired(shown, random):
        paths = pair[0].path, pair[1].path
        names = [accepted_names(one, members) for one in pair]
        first, second = (
            ((one,), tuple(name for name in other if name not in one)) for one, other in (names, reversed(names))
        )
        here, goal = random.randrange(2), random.randrange(2)
        rows: list[tuple[PairSort, str, tuple[tuple[str, ...], ...], tuple[str, ...]]] = [
            ("first", _worded("name", nth="first"), *first),
            ("second", _worded("name", nth="second"), *second),
            ("both", _worded("both"), (names[0], names[1]), ()),
            ("presence", _worded("presence", pair[here].names[0], nth=ORDINALS[here]), _YES, ()),
            ("presence", _worded("presence", pair[1 - here].names[0], nth=ORDINALS[here]), _NO, ()),
            ("which", _worded("which", pair[goal].names[0]), ((ORDINALS[goal],),), (ORDINALS[1 - goal],)),
        ]
        asked += [AskedOfPair(paths, *row) for row in rows]
        # What was there before is not there any more, and what was never there is not either.
        absent = random.choice((pair[0].names[0], random.choice(pair[1].confusable)))
        before = (Turn(1, _worded("before"), f"{capital(asked_as(pair[0].names[0]))}."),)
        asked += [
            AskedOfPair(paths, "next", _worded("next"), *second, before),
            AskedOfPair(paths, "next_presence", _worded("next_presence", pair[1].names[0]), _YES, (), before),
            AskedOfPair(paths, "next_presence", _worded("next_presence", absent), _NO, (), before),
        ]
    return asked


def rates(asked: Sequence[AskedOfPair], answers: Sequence[str]) -> dict[PairSort, Rate]:
    """Right answers by sort."""
    marks = [(one.sort, one.right(answer)) for one, answer in zip(asked, answers, strict=True)]
    return {sort: rate(ok for of, ok in marks if of == sort) for sort in PAIR_SORTS}


def _worded(sort: str, name: str = "", nth: str = "") -> str:
    return WORDINGS[sort].format(x=asked_as(name) if name else "", nth=nth)


def _paired(shown: Sequence[Shown], random: Random) -> list[tuple[Shown, Shown]]:
    """Each picture once, beside one of another kind; who finds none is left out."""
    waiting, pairs = random.sample(list(shown), len(shown)), []
    while waiting:
        one = waiting.pop()
        other = next((each for each in waiting if _differ(one, each)), None)
        if other:
            waiting.remove(other)
            pairs.append((one, other))
    return pairs


def _differ(one: Shown, other: Shown) -> bool:
    return one.kinds[-1] != other.kinds[-1] and not set(one.names) & set(other.names)
