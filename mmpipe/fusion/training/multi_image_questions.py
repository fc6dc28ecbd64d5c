"""Questions about two or three pictures in one prompt: which is which, and what they have in common.

What names no picture is about all that were shown together ("What is in the pictures?", "Is there a dog?"); of pictures
that were shown one after the other, in turns of a conversation, it is about the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from mmpipe.fusion.articles import with_article
from mmpipe.fusion.training.questions import (
    NO,
    SURE,
    UNSURE,
    YES,
    Examiner,
    capital,
    loosened,
    thing,
    wordings,
)

ORDINALS = ("first", "second", "third")
#: More pictures than this are not trained with.
MOST = len(ORDINALS)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture. ``probabilities``: (k,), the classifier's; ``truth``: what is to be seen."""

    probabilities: NDArray[np.float32]
    truth: int

    @property
    def best(self) -> list[int]:
        return list(np.argsort(-self.probabilities)[:6].tolist())


class MultiImageQuestionGenerator(Examiner):
    """Makes up questions about several pictures too."""

    def ask_of_several(self, seen: Sequence[Seen], random: Random) -> list[tuple[str, str]]:
        """Thirteen questions with answers. ``seen``: two or three pictures in their order."""
        pairs = [self._one_name(seen, random), self._one_name(seen, random), self._all_names(seen, random)]
        pairs += [self._in_one(seen, random) for _ in range(4)] + [self._in_any(seen, random) for _ in range(2)]
        pairs += [
            self._which(seen, random),
            self._in_each(seen, random) if random.random() < 0.7 else _number(seen, random),
        ]
        person = next((one for one in seen if "person" in self.subjects[one.truth].kinds), random.choice(seen))
        pairs += [self._beyond(person.truth, random), _beyond_in_one(seen, random)]
        return [(loosened(question, random), answer) for question, answer in pairs]

    def ask_of_last(self, seen: Sequence[Seen], random: Random, *, new: bool) -> list[tuple[str, str]]:
        """Twelve or thirteen questions with answers. ``seen``: pictures that were shown in turns, one or more; ``new``:
        the last of them is shown with the question."""
        last = seen[-1]
        pairs = self.ask(last.probabilities, last.truth, random)
        if len(seen) == 1:
            return pairs
        again, name = self._name(last.probabilities, last.best, random)
        if new:
            again = random.choice(wordings()["several"]["again"])
        other = [(again, name), self._not_before(seen, random), self._one_name(seen, random)]
        other += [self._in_one(seen, random), self._which(seen, random), _beyond_in_one(seen, random)]
        # In place of all but one of the questions of presence.
        return [*pairs[:3], *((loosened(question, random), answer) for question, answer in other), *pairs[8:]]

    def _not_before(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        """Whether the last picture shows what was in one before."""
        name = self._any_name(random.choice(seen[:-1]).truth, random)
        answer = YES if self._holds(name, seen[-1].truth) else NO
        return random.choice(wordings()["presence"]["questions"]).format(**thing(name)), answer

    def _one_name(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        place = random.randrange(len(seen))
        lines = wordings()["several"]
        question = random.choice(lines["name"]).format(**_place(place, seen, random))
        _, answer = self._name(seen[place].probabilities, seen[place].best, random)
        return question, answer

    def _all_names(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        said = []
        for one in seen:
            top, name = one.best[0], with_article(self.subjects[one.best[0]].name)
            sure = float(one.probabilities[top])
            kind = self._sure_kind(one.probabilities, one.best)
            unsure = f"some kind of {kind}" if kind else "something unclear"
            said.append(name if sure >= SURE else f"perhaps {name}" if sure >= UNSURE else unsure)
        lines = wordings()["several"]
        return random.choice(lines["names"]), f"{capital(', '.join(said[:-1]))} and {said[-1]}."

    def _in_one(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        """Half of what is not in this picture is in another."""
        place = random.randrange(len(seen))
        one = seen[place]
        if random.random() < 0.5:
            name, answer = self._any_name(one.truth, random), YES
        else:
            other = random.choice([each for each in seen if each is not one])
            name, answer = self._any_name(other.truth, random), NO
            if random.random() < 0.5 or self._holds(name, one.truth):
                name = self._absent(one.best, one.truth, random)
        words = thing(name) | _place(place, seen, random)
        return random.choice(wordings()["several"]["presence"]).format(**words), answer

    def _in_any(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        if random.random() < 0.5:
            name, answer = self._any_name(random.choice(seen).truth, random), YES
        else:
            name, answer = self._absent_from_all(seen, random), NO
        return random.choice(wordings()["several"]["any"]).format(**thing(name)), answer

    def _in_each(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        common = [kind for kind in self.subjects[seen[0].truth].kinds if self._in_all(kind, seen)]
        name = self._any_name(random.choice(seen).truth, random)
        if common and random.random() < 0.7:
            name = random.choice(common)
        words = thing(name) | {"all": "both" if len(seen) == 2 else "all"}
        return random.choice(wordings()["several"]["each"]).format(**words), YES if self._in_all(name, seen) else NO

    def _which(self, seen: Sequence[Seen], random: Random) -> tuple[str, str]:
        """Which picture shows a thing; now and then none does, and what several show is not asked."""
        place = random.randrange(len(seen))
        name, answer = self._any_name(seen[place].truth, random), f"The {ORDINALS[place]}."
        if random.random() < 0.15:
            name, answer = self._absent_from_all(seen, random), "None of them."
        elif sum(self._holds(name, one.truth) for one in seen) > 1:
            return _number(seen, random)
        return random.choice(wordings()["several"]["which"]).format(**thing(name)), answer

    def _in_all(self, name: str, seen: Sequence[Seen]) -> bool:
        return all(self._holds(name, one.truth) for one in seen)

    def _absent_from_all(self, seen: Sequence[Seen], random: Random) -> str:
        while True:
            one = random.choice(seen)
            name = self._absent(one.best, one.truth, random)
            if not any(self._holds(name, each.truth) for each in seen):
                return name


def _number(seen: Sequence[Seen], random: Random) -> tuple[str, str]:
    return random.choice(wordings()["several"]["number"]), f"{_NUMBERS[len(seen)]}."


def _beyond_in_one(seen: Sequence[Seen], random: Random) -> tuple[str, str]:
    """What cannot be known of one of them."""
    words = _place(random.randrange(len(seen)), seen, random) | {
        "colour": random.choice(wordings()["beyond"]["colours"])
    }
    return random.choice(wordings()["several"]["beyond"]).format(**words), wordings()["beyond"]["answer"]


_NUMBERS = {2: "Two", 3: "Three"}


def _place(place: int, seen: Sequence[Seen], random: Random) -> dict[str, str]:
    last = place == len(seen) - 1 and random.random() < 0.2
    return {"nth": "last" if last else ORDINALS[place], "n": str(place + 1)}
