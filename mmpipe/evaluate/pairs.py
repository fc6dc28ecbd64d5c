"""Are two pictures kept apart? The pictures of a list in pairs, shown together or in two turns of a conversation.

Who stands beside whom is drawn by the name of the list: the pairs are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from mmpipe.evaluate.fusion import PLAIN, Rate, Shown, accepted_names, says, with_article
from mmpipe.fusion.training.packing import Turn

PairSort = Literal["first", "second", "both", "presence", "which", "next", "next_presence"]
#: The last two are about a picture that is shown after another was talked about.
PAIR_SORTS: tuple[PairSort, ...] = ("first", "second", "both", "presence", "which", "next", "next_presence")


@dataclass(frozen=True, slots=True)
class AskedOfPair:
    """A question about two pictures. ``accepted``: an answer is right that has one name of each group."""

    pictures: tuple[str, str]
    sort: PairSort
    question: str
    accepted: tuple[tuple[str, ...], ...]
    history: tuple[Turn, ...] = ()

    def right(self, answer: str) -> bool:
        return all(says(answer, names) for names in self.accepted)


def questions(shown: Sequence[Shown], members: Mapping[str, Sequence[str]], seed: str) -> list[AskedOfPair]:
    """Nine questions about each pair. ``members``: kind -> names of what is of this kind."""
    random = Random(seed)  # noqa: S311
    asked = []
    for first, second in _paired(shown, random):
        one, two = (accepted_names(each, members) for each in (first, second))
        here = random.choice((1, 2))
        there = (first, second)[here - 1]
        absent = (second, first)[here - 1]
        place = ("first", "second")[here - 1]
        goal = random.choice((1, 2))
        goal_name = with_article((first, second)[goal - 1].names[0])
        rows: list[tuple[PairSort, str, tuple[tuple[str, ...], ...]]] = [
            ("first", "What is in the first picture?", (one,)),
            ("second", "What is in the second picture?", (two,)),
            ("both", "What is in the pictures?", (one, two)),
            ("presence", f"Is there {with_article(there.names[0])} in the {place} picture?", (("yes",),)),
            ("presence", f"Is there {with_article(absent.names[0])} in the {place} picture?", (("no",),)),
            ("which", f"Which picture shows {goal_name}?", ((("first", "second")[goal - 1],),)),
        ]
        both = first.path, second.path
        asked += [AskedOfPair(both, *row) for row in rows]
        plain, name = PLAIN["name"], with_article(first.names[0])
        before = (Turn(1, plain, f"{name[:1].upper()}{name[1:]}."),)
        asked.append(AskedOfPair(both, "next", plain, (two,), before))
        for thing, answer in ((second, "yes"), (first, "no")):
            question = PLAIN["presence"].format(x=with_article(thing.names[0]))
            asked.append(AskedOfPair(both, "next_presence", question, ((answer,),), before))
    return asked


def rates(asked: Sequence[AskedOfPair], answers: Sequence[str]) -> dict[PairSort, Rate]:
    """Right answers by sort."""
    marks = [(one.sort, one.right(answer)) for one, answer in zip(asked, answers, strict=True)]
    found = {}
    for sort in PAIR_SORTS:
        own = [ok for of, ok in marks if of == sort]
        found[sort] = Rate(sum(own), len(own))
    return found


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
