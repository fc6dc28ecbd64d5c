"""Engines that users bring, and what they are told where theirs cannot be had."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from mmpipe.errors import InputError
from mmpipe.extras import load_engine
from mmpipe.stage import Translator
from mmpipe.types import Sentence


class Reverser(Translator):
    def run(self, items: Sequence[Sentence]) -> list[str]:
        return [item.text[::-1] for item in items]


class Unfinished(Translator):
    pass


class Demanding(Reverser):
    def __init__(self, model: str) -> None:
        self.model = model


@pytest.fixture(autouse=True)
def this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found under a name of its own, whichever way pytest imported it."""
    monkeypatch.setitem(sys.modules, "my_engines", sys.modules[__name__])


def test_a_class_is_loaded_by_its_name() -> None:
    assert isinstance(load_engine("my_engines:Reverser", Translator), Reverser)


@pytest.mark.parametrize("path", [":Reverser", "my_engines:", ".my_engines:Reverser", ":", "my_engines"])
def test_a_name_that_is_not_whole_is_refused_with_the_form_it_must_have(path: str) -> None:
    with pytest.raises(InputError, match=r"Cannot load the engine.*module:Class"):
        load_engine(path, Translator)


def test_a_class_that_lacks_a_method_is_told_which() -> None:
    with pytest.raises(InputError, match=r"my_engines:Unfinished.*implement run"):
        load_engine("my_engines:Unfinished", Translator)


def test_a_class_that_needs_arguments_is_told_so() -> None:
    with pytest.raises(InputError, match=r"without arguments.*model.*defaults"):
        load_engine("my_engines:Demanding", Translator)
