"""Which languages can be translated into which, by what route, and how well.

The edges of the graph are the pairs of the engines at hand. A pair that no engine serves goes through others, and
sometimes a pair that one does serve is better off that way: Spanish to English is chrF 65 straight by Apertium and
78 through Portuguese, because the second step is a neural model that smooths what the first one breaks.

A route that was measured has the tier it measured. Any other has the tier of its weakest step, one lower if two or
more of its steps are less than good. docs/translation.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpipe.errors import LanguageError
from mmpipe.translate.install_hints import MAX_STEPS, install_hint
from mmpipe.translate.languages import NAMES
from mmpipe.translate.measured import measured_routes, tier_of
from mmpipe.types import TIERS, Tier

if TYPE_CHECKING:
    from mmpipe.stage import Translator

Pair = tuple[str, str]  # source and target language, ISO 639-1

# What a step costs where paths are searched: two fair steps are better than a lesser one, three are not.
_COST = {Tier.GOOD: 1, Tier.FAIR: 4, Tier.GIST: 10, Tier.EXPERIMENTAL: 30}
# chrF of a route that was not measured: the middle of its tier.
_LIKELY = {Tier.GOOD: 88.0, Tier.FAIR: 76.0, Tier.GIST: 63.0, Tier.EXPERIMENTAL: 40.0}
_FURTHER_STEP = 3.0  # chrF that a longer route must be better by, for its time and for the errors chrF does not see


@dataclass(frozen=True, slots=True)
class Step:
    """One engine on one pair."""

    name: str
    source: str
    target: str
    tier: Tier
    engine: Translator

    def __str__(self) -> str:
        return f"{self.name} {self.source}>{self.target}"


@dataclass(frozen=True, slots=True)
class Route:
    """A way from ``source`` to ``target``."""

    path: tuple[Step, ...]
    tier: Tier
    chrf: float | None = None  # where this very route was measured, 0..100

    @property
    def source(self) -> str:
        return self.path[0].source

    @property
    def target(self) -> str:
        return self.path[-1].target

    @property
    def steps(self) -> tuple[str, ...]:
        """For people: ("bergamot en>pt", "apertium pt>es")."""
        return tuple(map(str, self.path))

    @property
    def rank(self) -> tuple[int, float]:
        """Less is better: the tier first; then what was measured, or is likely, less what each further step costs."""
        expected = _LIKELY[self.tier] if self.chrf is None else self.chrf
        return TIERS.index(self.tier), _FURTHER_STEP * len(self.path) - expected


class LanguageGraph:
    """The pairs that ``engines`` serve, and the routes they open together. Where two serve a pair equally well, the
    earlier one is taken."""

    def __init__(self, engines: Iterable[Translator]) -> None:
        self._steps: dict[str, Step] = {}
        for engine in engines:
            for (source, target), tier in engine.pairs.items():
                step = Step(engine.name, source, target, tier, engine)
                self._steps.setdefault(str(step), step)
        self._measured: dict[Pair, list[Route]] = {}
        for names, chrf in measured_routes().items():
            if all(name in self._steps for name in names):
                route = Route(tuple(self._steps[name] for name in names), tier_of(chrf), chrf)
                self._measured.setdefault((route.source, route.target), []).append(route)
        self._known: dict[str, Mapping[str, Route]] = {}

    def best(self, source: str, target: str) -> Route:
        """The best route between two different languages.

        Raises:
            LanguageError: there is none. The message says what would open one.
        """
        found = self._routes_from(source).get(target)
        if found is None:
            have = {(step.source, step.target) for step in self._steps.values()}
            raise LanguageError(
                f"Nothing installed translates {_called(source)} into {_called(target)}. "
                + install_hint(source, target, have)
            )
        return found

    def languages(self) -> list[Route]:
        """The best route of every pair there is, by source and target."""
        sources = {step.source for step in self._steps.values()}
        return [route for source in sorted(sources) for _, route in sorted(self._routes_from(source).items())]

    def _routes_from(self, source: str) -> Mapping[str, Route]:
        if source not in self._known:
            self._known[source] = _best_routes(self._search(source))
        return self._known[source]

    def _search(self, source: str) -> Iterator[Route]:
        """Candidates: every measured route, and for each number of steps the cheapest path to each language."""
        for (start, _), routes in self._measured.items():
            if start == source:
                yield from routes
        leaving: dict[str, list[Step]] = {}
        for step in self._steps.values():
            leaving.setdefault(step.source, []).append(step)
        reached: dict[str, tuple[Step, ...]] = {source: ()}
        for _ in range(MAX_STEPS):
            further: dict[str, tuple[Step, ...]] = {}
            for language, path in reached.items():
                for step in leaving.get(language, ()):
                    visited = {source, *(earlier.target for earlier in path)}
                    if step.target in visited:
                        continue
                    longer = (*path, step)
                    if step.target not in further or _cost(longer) < _cost(further[step.target]):
                        further[step.target] = longer
            for path in further.values():
                chrf = measured_routes().get(tuple(map(str, path)))
                yield Route(path, _inferred_tier(path) if chrf is None else tier_of(chrf), chrf)
            reached = further


def _best_routes(routes: Iterable[Route]) -> Mapping[str, Route]:
    best: dict[str, Route] = {}
    for route in routes:
        if route.target not in best or route.rank < best[route.target].rank:
            best[route.target] = route
    return best


def _cost(path: tuple[Step, ...]) -> int:
    return sum(_COST[step.tier] for step in path)


def _inferred_tier(path: tuple[Step, ...]) -> Tier:
    ranks = [TIERS.index(step.tier) for step in path]
    lowered = max(ranks) + (sum(rank > 0 for rank in ranks) > 1)
    return TIERS[min(lowered, len(TIERS) - 1)]


def _called(code: str) -> str:
    return f"{NAMES.get(code, 'the language')} ({code})"
