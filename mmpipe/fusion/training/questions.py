"""Questions about a picture of which only the class probabilities are known, with their answers.

The wordings are in ``questions.toml``. What the picture shows decides; where the classifier is not sure the answer
says so, and to what it cannot know (colours, counts, text, places, people) it is always that it cannot tell.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmpipe.fusion.articles import with_article

#: Below this probability of the best class the answer is "Perhaps ...", and below the next it is given up.
SURE, UNSURE = 0.35, 0.05
#: What a kind must sum up to, to be named.
KIND_SURE = 0.4
YES, NO = "Yes.", "No."


class Subject(Protocol):
    """What a label stands for. ``kinds``: the finest first."""

    @property
    def name(self) -> str: ...
    @property
    def other_names(self) -> Sequence[str]: ...
    @property
    def kinds(self) -> Sequence[str]: ...


@cache
def wordings() -> Mapping[str, Any]:
    """What ``questions.toml`` holds."""
    return tomllib.loads(files("mmpipe.fusion.training").joinpath("questions.toml").read_text("utf-8"))


def thing(name: str) -> dict[str, str]:
    """``name`` for a wording: alone and with its article. All that people make is of the kind "object"."""
    return {"name": "man-made object" if name == "object" else name, "a_name": with_article(name)}


def capital(text: str) -> str:
    """With a large first letter."""
    return text[:1].upper() + text[1:]


def loosened(question: str, random: Random) -> str:
    """As people type: now and then with words before it, without capitals, or without its mark."""
    if random.random() < 0.2:
        opening = random.choice(wordings()["words"]["openings"])
        keep = question.startswith("I ") or opening.endswith((".", "!", ":"))
        question = f"{opening} {question if keep else question[:1].lower() + question[1:]}"
    if random.random() < 0.1:
        question = question.lower()
    return question.rstrip("?.") if random.random() < 0.1 else question


class Examiner:
    """Makes questions up. ``subjects``: what each logit stands for. ``near``: for each, those that the classifier
    mistakes most easily for it."""

    def __init__(self, subjects: Sequence[Subject], near: Sequence[Sequence[int]]) -> None:
        self.subjects, self.near = subjects, near
        self.classes: dict[str, set[int]] = {}
        self.named: dict[str, set[int]] = {}
        for index, subject in enumerate(subjects):
            for kind in subject.kinds:
                self.classes.setdefault(kind, set()).add(index)
            for name in (subject.name, *subject.other_names):
                self.named.setdefault(name.lower(), set()).add(index)
        self.kinds = sorted(self.classes)
        self.facts = [
            (question.split("|"), frozenset(yes.split(",")), frozenset(no.split(",")))
            for question, yes, no in wordings()["facts"]["ask"]
        ]

    def ask(self, probabilities: NDArray[np.float32], truth: int, random: Random) -> list[tuple[str, str]]:
        """Twelve questions with answers, of every sort. ``probabilities``: (k,); ``truth``: what is to be seen."""
        best = np.argsort(-probabilities)[:6].tolist()
        pairs = [self._name(probabilities, best, random), self._more(probabilities, best, random)]
        pairs += [self._presence(best, truth, random) for _ in range(6)]
        pairs += [self._category(best, truth, random), self._choice(best, truth, random)]
        pairs += [self._fact(truth, random) or self._presence(best, truth, random), self._beyond(truth, random)]
        return [(loosened(question, random), answer) for question, answer in pairs]

    def _words(self, index: int) -> dict[str, str]:
        subject = self.subjects[index]
        kind = subject.kinds[0] if subject.kinds else "thing"
        a_name, a_kind = with_article(subject.name), with_article(kind)
        of_kind = {"food": "which is food", "object": "a man-made object"}.get(kind, f"a kind of {kind}")
        return {
            "name": subject.name, "a_name": a_name, "A_name": capital(a_name),
            "kind": kind, "a_kind": a_kind, "of_kind": of_kind,
        }  # fmt: skip

    def _name(
        self, probabilities: NDArray[np.float32], best: list[int], random: Random, sort: str = "name"
    ) -> tuple[str, str]:
        lines, words = wordings()[sort], self._words(best[0])
        question = random.choice(lines["questions"]).format(**words)
        top = float(probabilities[best[0]])
        if top >= SURE:
            return question, random.choice(lines["answers"]).format(**words)
        if top >= UNSURE:
            return question, random.choice(lines["perhaps"]).format(**words)
        kind = self._sure_kind(probabilities, best)
        return question, f"Some kind of {kind}." if kind else wordings()["beyond"]["answer"]

    def _more(self, probabilities: NDArray[np.float32], best: list[int], random: Random) -> tuple[str, str]:
        """The name again, a description, or the kind."""
        sort = random.choice(("name", "name", "describe", "which", "kind", "kind"))
        if sort != "kind":
            return self._name(probabilities, best, random, sort)
        kind = self._sure_kind(probabilities, best)
        answer = f"{capital(with_article(kind))}." if kind else wordings()["beyond"]["answer"]
        return random.choice(wordings()["kind"]["questions"]), answer

    def _sure_kind(self, probabilities: NDArray[np.float32], best: list[int]) -> str | None:
        """The finest kind among those of the best classes that the classifier is sure of."""
        kinds = {kind for index in best for kind in self.subjects[index].kinds}
        sums = {kind: float(probabilities[list(self.classes[kind])].sum()) for kind in sorted(kinds)}
        sure = [kind for kind, total in sums.items() if total >= KIND_SURE]
        return min(sure, key=lambda kind: len(self.classes[kind])) if sure else None

    def _presence(self, best: list[int], truth: int, random: Random) -> tuple[str, str]:
        if random.random() < 0.5:
            name, answer = self._any_name(truth, random), YES
        else:
            name, answer = self._absent(best, truth, random), NO
        return random.choice(wordings()["presence"]["questions"]).format(**thing(name)), answer

    def _absent(self, best: list[int], truth: int, random: Random) -> str:
        """Something that is not there: mostly what could be mistaken for it."""
        kinds = self.subjects[truth].kinds
        while True:
            pick = random.random()
            if pick < 0.2:
                other = random.choice(best)
            elif pick < 0.45:
                other = random.choice(self.near[truth])
            elif pick < 0.75 and kinds:
                other = random.choice(sorted(self.classes[random.choice(kinds[:2])]))
            else:
                other = random.randrange(len(self.subjects))
            name = self._any_name(other, random)
            if not self._holds(name, truth):
                return name

    def _holds(self, name: str, truth: int) -> bool:
        """Whether what is to be seen is called so, or is of this kind."""
        return truth in self.named.get(name.lower(), ()) or truth in self.classes.get(name, ())

    def _any_name(self, index: int, random: Random) -> str:
        """What it is called, what else it is called, or its kind."""
        subject = self.subjects[index]
        if subject.kinds and random.random() < 0.25:
            return random.choice(subject.kinds)
        plain = [name for name in subject.other_names if name == name.lower()]
        return random.choice(plain) if plain and random.random() < 0.5 else subject.name

    def _category(self, best: list[int], truth: int, random: Random) -> tuple[str, str]:
        kinds = self.subjects[truth].kinds
        if kinds and random.random() < 0.5:
            kind, answer = random.choice(kinds), YES
        else:
            near = [kind for index in best for kind in self.subjects[index].kinds if kind not in kinds]
            others = [kind for kind in self.kinds if kind not in kinds]
            kind = random.choice(near if near and random.random() < 0.3 else others)
            answer = NO
        words = {"kind": kind, "a_kind": with_article(kind)}
        return random.choice(wordings()["category"]["questions"]).format(**words), answer

    def _choice(self, best: list[int], truth: int, random: Random) -> tuple[str, str]:
        subject = self.subjects[truth]
        right = random.choice(subject.kinds) if subject.kinds and random.random() < 0.6 else subject.name
        pair = [with_article(right), with_article(self._absent(best, truth, random))]
        answer = capital(pair[0]) + "."
        random.shuffle(pair)
        words = {"x": pair[0], "X": capital(pair[0]), "y": pair[1]}
        return random.choice(wordings()["choice"]["questions"]).format(**words), answer

    def _fact(self, truth: int, random: Random) -> tuple[str, str] | None:
        kinds = set(self.subjects[truth].kinds)
        known = [(asked, bool(kinds & yes)) for asked, yes, no in self.facts if kinds & (yes | no)]
        if not known:
            return None
        wanted = random.random() < 0.5
        asked, holds = random.choice([fact for fact in known if fact[1] == wanted] or known)
        return random.choice(asked), YES if holds else NO

    def _beyond(self, truth: int, random: Random) -> tuple[str, str]:
        lines = wordings()["beyond"]
        sort = random.choice(("colour", "colour", "count", "count", "text", "place", "people", "people", "state"))
        index = truth if random.random() < 0.7 else random.randrange(len(self.subjects))
        if sort == "people" and "person" in self.subjects[truth].kinds:
            sort = "count"
        colour, colour2 = random.sample(lines["colours"], 2)
        words = self._words(index) | {
            "colour": colour, "colour2": colour2,
            "number": random.choice(lines["numbers"]), "country": random.choice(lines["countries"]),
        }  # fmt: skip
        return random.choice(lines[sort]).format(**words), lines["answer"]
