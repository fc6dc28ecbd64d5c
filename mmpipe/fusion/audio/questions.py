"""Short questions to be spoken, some with an answer that is known, and which of them are never trained on."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

#: Of all questions, in percent, by the digest of the text: the same everywhere, whatever is added.
HELD_OUT_PERCENT = 15
#: Only the evaluation hears these: an American and a British one of Kokoro's.
HELD_OUT_VOICES = ("af_heart", "bm_george")


@dataclass(frozen=True, slots=True)
class SpokenQuestion:
    """``accepted``: words, one of which a right answer contains; none where any answer would do."""

    text: str
    accepted: tuple[str, ...] = ()

    @property
    def held_out(self) -> bool:
        return _number(self.text) % 100 < HELD_OUT_PERCENT


@cache
def questions() -> tuple[SpokenQuestion, ...]:
    """All of them, in an order that mixes the subjects. What is held out is made of words that the others have, too."""
    data = tomllib.loads(files("mmpipe.fusion.audio").joinpath("questions.toml").read_text("utf-8"))
    found: dict[str, SpokenQuestion] = {}
    for table in data["facts"]:
        for wording in table["wordings"]:
            for thing, answer in table["answers"].items():
                _add(found, wording, thing, tuple(answer.split("|")))
    for table in data["open"]:
        for wording in table["wordings"]:
            for thing in data["things"][table["about"]]:
                _add(found, wording, thing)
    kinds = data["kinds"]
    for kind, members in kinds["members"].items():
        others = [other for other in kinds["members"] if other != kind]
        for thing in members:
            other = others[_number(thing) % len(others)]
            for wording in kinds["wordings"]:
                _add(found, wording.replace("{kind}", _a(kind)), thing, ("yes",))
                _add(found, wording.replace("{kind}", _a(other)), thing, ("no",))
    return tuple(sorted(found.values(), key=lambda one: _number(one.text)))


def _add(found: dict[str, SpokenQuestion], wording: str, thing: str, accepted: tuple[str, ...] = ()) -> None:
    text = wording.replace("{a}", _a(thing)).replace("{x}", thing)
    text = text[0].upper() + text[1:]
    found[text] = SpokenQuestion(text, accepted)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
