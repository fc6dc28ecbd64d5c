"""The languages that the page offers, and how far each translation can be trusted, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmpipe.translate import NAMES, Route
from mmpipe.types import TIERS, Tier

#: What a tier means to somebody who reads the translation.
MEANING = {
    Tier.GOOD: "close to what a careful translator writes",
    Tier.FAIR: "right in the main, clumsy in places",
    Tier.GIST: "tells what it is about",
    Tier.EXPERIMENTAL: "may be wrong without showing it",
}

#: (what a person reads, ISO 639-1)
Choice = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """What visitors can choose from. ``routes``: the best one of every pair of languages that can be translated.
    ``voices``: languages that can be spoken."""

    routes: Mapping[tuple[str, str], Route]
    voices: frozenset[str]

    def sources(self) -> list[Choice]:
        return _named({source for source, _ in self.routes})

    def targets(self, source: str | None = None) -> list[Choice]:
        """From ``source``, the best first, each with its quality; by name where the source is not known yet."""
        if source is None:
            return _named({target for _, target in self.routes})
        found = [route for route in self.routes.values() if route.source == source]
        found.sort(key=lambda route: (TIERS.index(route.tier), name(route.target)))
        return [(f"{name(route.target)} ({route.tier})", route.target) for route in found]

    def tier(self, source: str | None, target: str) -> Tier | None:
        """None where the source is not known, or nothing translates it."""
        route = self.routes.get((source, target)) if source is not None else None
        return route.tier if route is not None else None

    def quality(self, source: str | None, target: str) -> str:
        """A sentence on what a translation into ``target`` is worth, and on its voice."""
        return " ".join(filter(None, [self._worth(source, target), self._voice(target)]))

    def _worth(self, source: str | None, target: str) -> str:
        if source == target:
            return f"{name(target)} is left as it is."
        if source is not None:
            tier = self.tier(source, target)
            if tier is None:
                return f"Nothing here translates {name(source)} into {name(target)}."
            return f"{name(source)} into {name(target)} is {tier}: {MEANING[tier]}."
        best = [
            f"{name(route.source)} ({tier})"
            for tier in TIERS[:-1]
            for route in self.routes.values()
            if route.target == target and route.tier is tier
        ]
        return f"Into {name(target)} best from {', '.join(best[:4])}." if best else ""

    def _voice(self, target: str) -> str:
        return "" if target in self.voices else f"No voice here speaks {name(target)}: it stays text."


def name(language: str) -> str:
    return NAMES.get(language, language)


def _named(languages: set[str]) -> list[Choice]:
    return sorted((name(language), language) for language in languages)
