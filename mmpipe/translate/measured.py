"""How good routes were found to be: chrF on forty sentences, in ``measured.tsv``, and what that makes them.

The table is written by ``tests/translate/measure.py``; docs/translation.md explains and shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

from mmpipe.types import Tier

#: chrF from which a route has a tier; below the last, or unmeasured, it is experimental
TIER_FLOORS: Mapping[Tier, float] = {Tier.GOOD: 80.0, Tier.FAIR: 72.0, Tier.GIST: 55.0}


@cache
def measured_routes() -> Mapping[tuple[str, ...], float]:
    """Steps ("bergamot en>pt", "apertium pt>es") -> chrF, 0..100."""
    text = resources.files("mmpipe.translate").joinpath("measured.tsv").read_text(encoding="utf-8")
    table: dict[tuple[str, ...], float] = {}
    for line in text.splitlines():
        chrf, route = line.split("\t")
        table[tuple(route.split(", "))] = float(chrf)
    return table


def tier_of(chrf: float) -> Tier:
    return next((tier for tier, floor in TIER_FLOORS.items() if chrf >= floor), Tier.EXPERIMENTAL)


def measured_tier(engine: str, pair: tuple[str, str]) -> Tier:
    """The tier of one step; experimental where nobody measured it."""
    chrf = measured_routes().get((f"{engine} {pair[0]}>{pair[1]}",))
    return Tier.EXPERIMENTAL if chrf is None else tier_of(chrf)
