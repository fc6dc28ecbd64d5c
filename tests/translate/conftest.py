"""Translators that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from mmpipe.stage import Translator
from mmpipe.types import Sentence, Tier


class FakeTranslator(Translator):
    """Says what it was given, and does to it what ``change`` does."""

    def __init__(
        self,
        name: str,
        pairs: Mapping[tuple[str, str], Tier],
        change: Callable[[str], str] = str,
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.pairs = pairs
        self.change = change
        self.heard: list[str] = []
        self.closed = False

    def run(self, items: Sequence[Sentence]) -> list[str]:
        self.heard += [item.text for item in items]
        return [self.change(item.text) for item in items]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake() -> type[FakeTranslator]:
    return FakeTranslator
