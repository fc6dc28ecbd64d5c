"""Routes between languages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from mmpipe.errors import LanguageError
from mmpipe.translate.graph import LanguageGraph
from mmpipe.translate.measured import TIER_FLOORS, measured_routes, tier_of
from mmpipe.types import Tier

GOOD, FAIR, GIST, EXPERIMENTAL = Tier.GOOD, Tier.FAIR, Tier.GIST, Tier.EXPERIMENTAL


def _steps(graph: LanguageGraph, source: str, target: str) -> tuple[str, ...]:
    return graph.best(source, target).steps


def test_a_pair_an_engine_serves_goes_straight(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "de"): FAIR})])
    route = graph.best("en", "de")
    assert (route.steps, route.tier) == (("a en>de",), FAIR)


def test_a_pair_nobody_serves_goes_through_others_and_the_weakest_step_wins(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "de"): GOOD}), fake("b", {("de", "nl"): FAIR})])
    route = graph.best("en", "nl")
    assert (route.steps, route.tier) == (("a en>de", "b de>nl"), FAIR)


def test_two_steps_that_are_less_than_good_lower_the_tier(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "de"): FAIR, ("de", "nl"): FAIR, ("nl", "af"): EXPERIMENTAL})])
    assert graph.best("en", "nl").tier is GIST
    assert graph.best("en", "af").tier is EXPERIMENTAL


def test_a_better_detour_beats_a_worse_straight_way(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "nl"): GIST, ("en", "de"): GOOD, ("de", "nl"): FAIR})])
    assert _steps(graph, "en", "nl") == ("a en>de", "a de>nl")


def test_of_equal_routes_the_shorter_wins(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "nl"): FAIR, ("en", "de"): GOOD, ("de", "nl"): FAIR})])
    assert _steps(graph, "en", "nl") == ("a en>nl",)


def test_of_equal_engines_the_earlier_wins(fake: Any) -> None:
    engines = [fake("first", {("en", "nl"): FAIR}), fake("second", {("en", "nl"): FAIR})]
    assert _steps(LanguageGraph(engines), "en", "nl") == ("first en>nl",)
    assert _steps(LanguageGraph(engines[::-1]), "en", "nl") == ("second en>nl",)


def test_a_route_is_not_longer_than_three_steps(fake: Any) -> None:
    chain = {("en", "de"): GOOD, ("de", "nl"): GOOD, ("nl", "af"): GOOD, ("af", "xh"): GOOD}
    graph = LanguageGraph([fake("a", chain)])
    assert len(graph.best("en", "af").path) == 3
    with pytest.raises(LanguageError):
        graph.best("en", "xh")


def test_a_measured_route_has_what_was_measured(fake: Any) -> None:
    graph = LanguageGraph(
        [
            fake("bergamot", {("pt", "en"): GOOD}),
            fake("apertium", {("es", "en"): GIST, ("es", "pt"): GIST}),
        ]
    )
    route = graph.best("es", "en")
    assert route.steps == ("apertium es>pt", "bergamot pt>en")
    assert route.chrf == measured_routes()[route.steps]
    assert route.tier is FAIR  # better than its weakest step


def test_measurements_of_engines_that_are_not_here_do_not_count(fake: Any) -> None:
    graph = LanguageGraph([fake("mine", {("es", "pt"): GIST, ("pt", "en"): GOOD})])
    assert (graph.best("es", "en").tier, graph.best("es", "en").chrf) == (GIST, None)


def test_all_pairs_are_listed_with_their_best_route(fake: Any) -> None:
    graph = LanguageGraph([fake("a", {("en", "de"): GOOD, ("de", "en"): GOOD, ("de", "nl"): FAIR})])
    listed = [(route.source, route.target, route.tier) for route in graph.languages()]
    assert listed == [("de", "en", GOOD), ("de", "nl", FAIR), ("en", "de", GOOD), ("en", "nl", FAIR)]


@pytest.mark.parametrize(
    ("have", "pair", "said"),
    [
        ({("en", "pt"): GOOD}, ("en", "es"), ["sudo apt-get install apertium apertium-eng-spa (", "'mmpipe[llama]'"]),
        ({("en", "pt"): GOOD, ("pt", "es"): FAIR}, ("en", "it"), ["apertium-spa-ita", "cg3"]),
        ({("en", "pt"): GOOD}, ("en", "de"), ["mmpipe pull gemma3-270m --accept-license", "gaudi/opus-mt-en-de"]),
        ({("en", "pt"): GOOD}, ("zh", "pt"), ["gemma3-270m"]),  # into English, and on
        ({("en", "pt"): GOOD}, ("ko", "th"), ["hf:michaelfeil/ct2fast-m2m100_418M"]),
    ],
)
def test_no_route_says_what_would_open_one(
    fake: Any, have: dict[tuple[str, str], Tier], pair: tuple[str, str], said: list[str]
) -> None:
    with pytest.raises(LanguageError) as caught:
        LanguageGraph([fake("a", have)]).best(*pair)
    for words in said:
        assert words in str(caught.value)


def test_no_advice_is_given_that_does_not_help(fake: Any) -> None:
    with pytest.raises(LanguageError) as caught:
        LanguageGraph([fake("a", {("en", "pt"): GOOD})]).best("ko", "th")
    assert "apt-get" not in str(caught.value)
    assert "gemma" not in str(caught.value)


def test_tiers_follow_from_the_floors() -> None:
    assert [tier_of(floor) for floor in TIER_FLOORS.values()] == [GOOD, FAIR, GIST]
    assert tier_of(10.0) is EXPERIMENTAL


def test_the_measured_table_is_sound() -> None:
    for steps, chrf in measured_routes().items():
        assert 0 < chrf <= 100
        ends = [step.split()[1].split(">") for step in steps]
        assert all(before[1] == after[0] for before, after in pairwise(ends)), steps
