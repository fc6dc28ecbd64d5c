"""Are questions about pictures answered rightly? Fixed lists of real pictures, and what is asked about them.

The pictures are in ``data/stamps.tsv``, ``data/photos.tsv`` and ``data/held_out.tsv``; nothing is trained on them. Each
is asked for its name, for what is there and what is not (something similar), for its kind, and for what cannot be
known; the ten wordings of :data:`PARAPHRASES` and those of :data:`BEYOND` are not in the training templates. What is
drawn is drawn by the name of the file: the lists are the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import sqrt
from random import Random
from typing import Literal

from mmpipe.errors import InputError

Sort = Literal["name", "presence", "category", "beyond"]
SORTS: tuple[Sort, ...] = ("name", "presence", "category", "beyond")

#: Choices have been made by the errors on these, and by none on "held_out": score on it at the very end, or not at all.
SEEN: tuple[str, ...] = ("stamps", "photos")
LISTS: tuple[str, ...] = (*SEEN, "held_out")

PLAIN: Mapping[str, str] = {
    "name": "What is in this picture?",
    "presence": "Is there {x} in the picture?",
    "category": "Is it {x}?",
}
PARAPHRASES: Mapping[str, Sequence[str]] = {
    "name": (
        "Could you tell me what the photo depicts?", "Identify the main subject, please.", "What am I looking at?",
        "I wonder what this might be.",
    ),
    "presence": ("Can you spot {x} anywhere?", "Does {x} appear in the shot?", "Would you say that this is {x}?"),
    "category": ("Would you call this {x}?", "Are we dealing with {x}?", "Is that thing {x}, in your opinion?"),
}  # fmt: skip
BEYOND = (
    "Which colour dominates the picture?", "Is it mostly green?", "How many of them can be seen?",
    "Are there three of them?", "What words appear in the picture?", "What does the writing mean?",
    "In which town was this photographed?", "What stands to the right of it?", "Who is the person in the picture?",
    "What expression is on the face?",
)  # fmt: skip

_KINDS = (
    "animal", "bird", "mammal", "insect", "fish", "vehicle", "food", "fruit", "vegetable", "musical instrument",
    "building", "clothing", "furniture", "container", "tool",
)  # fmt: skip
#: What nobody would call a tool, a container or furniture by mistake is asked of things: the borders are vague.
_VAGUE = {"furniture", "container", "tool", "vegetable"}
_UNCOUNTED = {"food": "food", "clothing": "a piece of clothing", "furniture": "a piece of furniture"}
_NO_ARTICLE = {"broccoli", "corn", "lettuce", "espresso", "binoculars", "pliers", "sunglasses"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a list. ``names``: accepted; one that starts with @ accepts all that is of this kind."""

    path: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    confusable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of the evaluation. ``accepted``: answers that contain one of these are right, as whole words."""

    picture: str
    sort: Sort
    question: str
    accepted: tuple[str, ...]
    paraphrase: bool = False

    @property
    def pictures(self) -> tuple[str, ...]:
        return (self.picture,)

    @property
    def history(self) -> tuple[()]:
        return ()

    @property
    def yes_or_no(self) -> bool:
        return self.sort in ("presence", "category")


def pictures(which: str) -> list[Shown]:
    """The list ``which``, one of :data:`LISTS`."""
    if which not in LISTS:
        raise InputError(f"Unknown list of pictures {which!r}. Known: {', '.join(LISTS)}.")
    lines = files("mmpipe.evaluate").joinpath(f"data/{which}.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [Shown(path, *(tuple(cell.split("|")) for cell in cells)) for path, *cells in rows]


def questions(shown: Sequence[Shown], members: Mapping[str, Sequence[str]]) -> list[Asked]:
    """Ten questions about each picture. ``members``: kind -> names of what is of this kind."""
    asked = []
    for one in shown:
        random = Random(one.path)  # noqa: S311
        names = accepted_names(one, members)
        here, absent = one.names[0], random.choice(one.confusable)
        kind, other = one.kinds[0], random.choice(_other_kinds(one.kinds))
        if len(one.kinds) > 1:
            kind = random.choice(one.kinds)
        plain = [
            Asked(one.path, "name", PLAIN["name"], names),
            Asked(one.path, "presence", PLAIN["presence"].format(x=asked_as(here)), ("yes",)),
            Asked(one.path, "presence", PLAIN["presence"].format(x=asked_as(absent)), ("no",)),
            Asked(one.path, "category", PLAIN["category"].format(x=asked_as(kind)), ("yes",)),
            Asked(one.path, "category", PLAIN["category"].format(x=asked_as(other)), ("no",)),
        ]
        # One of each sort again, in other words: about the very same thing, so that the two can be compared.
        again_about: list[tuple[Sort, tuple[str, str]]] = [
            ("presence", random.choice(((here, "yes"), (absent, "no")))),
            ("category", random.choice(((kind, "yes"), (other, "no")))),
        ]
        again = [
            Asked(one.path, "name", random.choice(PARAPHRASES["name"]), names, True),
            *(
                Asked(one.path, sort, random.choice(PARAPHRASES[sort]).format(x=asked_as(thing)), (answer,), True)
                for sort, (thing, answer) in again_about
            ),
        ]
        beyond = [Asked(one.path, "beyond", text, ("cannot tell",)) for text in random.sample(BEYOND, 2)]
        asked += plain + again + beyond
    return asked


def accepted_names(shown: Shown, members: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What the thing may be called. ``members``: kind -> names of what is of this kind."""
    return tuple(
        part for name in shown.names for part in ((*members.get(name[1:], ()), name[1:]) if name[0] == "@" else (name,))
    )


def right(asked: Asked, answer: str) -> bool:
    """Whether ``answer`` is accepted."""
    if asked.yes_or_no:
        return first_word(answer) in asked.accepted
    return says(answer, asked.accepted)


def says(answer: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` is in ``answer``, as whole words."""
    said = _words(answer)
    return any(re.search(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", said) for name in names)


def first_word(answer: str) -> str:
    """In small letters; "" if there is none."""
    return _words(answer).split(" ")[0]


def _words(text: str) -> str:
    return " ".join(re.findall(r"[\w'-]+", text.lower()))


def refused(answer: str) -> bool:
    """Whether ``answer`` says that it cannot be told."""
    return "cannot tell" in answer.lower()


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % confidence interval (Wilson 1927)."""

    right: int
    total: int

    @property
    def value(self) -> float:
        return self.right / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        n, p, z = self.total, self.value, 1.959964
        if not n:
            return 0.0, 1.0
        centre, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return (centre - spread) / scale, (centre + spread) / scale

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} ({low:.2f}-{high:.2f})"


def rates(asked: Sequence[Asked], answers: Sequence[str]) -> dict[str, Rate]:
    """By sort; "paraphrased" and "plainly" are the same things asked in both ways; "refused": within reach."""
    marks = [(one, answer, right(one, answer)) for one, answer in zip(asked, answers, strict=True)]
    found: dict[str, Rate] = {
        sort: rate(ok for one, _, ok in marks if one.sort == sort and not one.paraphrase) for sort in SORTS
    }
    plain = {(one.picture, one.sort, one.accepted): ok for one, _, ok in marks if not one.paraphrase}
    again = [(one, ok) for one, _, ok in marks if one.paraphrase]
    found["paraphrased"] = rate(ok for _, ok in again)
    found["plainly"] = rate(plain[one.picture, one.sort, one.accepted] for one, _ in again)
    found["refused"] = rate(refused(answer) for one, answer, _ in marks if one.sort != "beyond" and not one.paraphrase)
    return found


def advantage(
    asked: Sequence[Asked], ours: Sequence[str], theirs: Sequence[str], sort: Sort, samples: int = 2000
) -> tuple[float, float, float]:
    """How much oftener ``ours`` is right than ``theirs``, with a 95 % interval: bootstrap over pictures."""
    gains: dict[str, list[int]] = {}
    for one, our, their in zip(asked, ours, theirs, strict=True):
        if one.sort == sort and not one.paraphrase:
            gains.setdefault(one.picture, []).append(right(one, our) - right(one, their))
    each, random = list(gains.values()), Random(0)  # noqa: S311
    means = []
    for _ in range(samples):
        drawn = [gain for row in random.choices(each, k=len(each)) for gain in row]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    flat = [gain for row in each for gain in row]
    return sum(flat) / len(flat), means[int(0.025 * samples)], means[int(0.975 * samples)]


def calibration_error(right: Sequence[bool], confidences: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv:1706.04599): how far confidence is from the share of right
    answers, the mean over ``bins`` equally wide ranges of confidence, weighted by their answers."""
    sums = [[0.0, 0.0] for _ in range(bins)]
    for ok, sure in zip(right, confidences, strict=True):
        place = sums[min(int(sure * bins), bins - 1)]
        place[0] += ok
        place[1] += sure
    return sum(abs(hits - sure) for hits, sure in sums) / max(1, len(right))


def ranking(right: Sequence[bool], confidences: Sequence[float]) -> float:
    """The area under the ROC curve: how often a right answer is given more confidence than a wrong one."""
    good = [sure for ok, sure in zip(right, confidences, strict=True) if ok]
    bad = [sure for ok, sure in zip(right, confidences, strict=True) if not ok]
    if not good or not bad:
        return 0.5
    return sum((a > b) + 0.5 * (a == b) for a in good for b in bad) / (len(good) * len(bad))


def rate(marks: Iterable[bool]) -> Rate:
    """The share of what is true."""
    marks = list(marks)
    return Rate(sum(marks), len(marks))


def _other_kinds(kinds: Sequence[str]) -> list[str]:
    others = [kind for kind in _KINDS if kind not in kinds]
    if "animal" in kinds:
        return others
    if {"plant", "mushroom", "food", "drink"} & set(kinds):
        return [kind for kind in others if kind not in (*_VAGUE, "food", "fruit")]
    return [kind for kind in others if kind not in _VAGUE]


def asked_as(name: str) -> str:
    """ "an apple", "a dog", "broccoli": as the lists have always put it, whatever training comes to say."""
    if name in _UNCOUNTED or name in _NO_ARTICLE:
        return _UNCOUNTED.get(name, name)
    return f"{'an' if name.lower().startswith(('a', 'e', 'i', 'o', 'um')) else 'a'} {name}"
