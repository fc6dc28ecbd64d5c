"""The languages that the page offers, and how far each translation can be trusted, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from mmpipe.audio.synthesis import Speaker
from mmpipe.translate import NAMES, TextTranslator
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
    """``tiers``: of every pair of languages that can be translated. ``spoken``: languages that there is a voice for."""

    tiers: Mapping[tuple[str, str], Tier]
    spoken: frozenset[str]

    def sources(self) -> list[Choice]:
        return _named({source for source, _ in self.tiers})

    def targets(self, source: str | None = None) -> list[Choice]:
        """From ``source``, the best first, each with its quality; by name where the source is not known yet."""
        if source is None:
            return _named({target for _, target in self.tiers})
        found = [(tier, name(target), target) for (start, target), tier in self.tiers.items() if start == source]
        found.sort(key=lambda one: (TIERS.index(one[0]), one[1]))
        return [(f"{called} ({tier})", target) for tier, called, target in found]

    def tier(self, source: str | None, target: str) -> Tier | None:
        """None where the source is not known, or nothing translates it."""
        return self.tiers.get((source, target)) if source is not None else None

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
            f"{name(start)} ({tier})"
            for tier in TIERS[:-1]
            for (start, end), tier_of_pair in self.tiers.items()
            if end == target and tier_of_pair is tier
        ]
        return f"Into {name(target)} best from {', '.join(best[:4])}." if best else ""

    def _voice(self, target: str) -> str:
        return "" if target in self.spoken else f"No voice here speaks {name(target)}: it stays text."


@cache
def pairs_here() -> Pairs:
    """Of the engines that are installed; none of them is loaded for that."""
    with TextTranslator() as translator, Speaker() as speaker:
        tiers = {(route.source, route.target): route.tier for route in translator.languages()}
        return Pairs(tiers, frozenset(speaker.languages()))


def name(language: str) -> str:
    return NAMES.get(language, language)


def _named(languages: set[str]) -> list[Choice]:
    return sorted((name(language), language) for language in languages)
