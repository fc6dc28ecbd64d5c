"""Fusion strategies by name. To add one, subclass :class:`Strategy` in a file and enter it here, or with `register`."""

from __future__ import annotations

from typing import Any

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.additive import Additive
from mmpipe.fusion.strategies.base import FeatureBatch, Shapes, Strategy
from mmpipe.fusion.strategies.cross_attention import CrossAttention
from mmpipe.fusion.strategies.prefix import Prefix
from mmpipe.fusion.strategies.soft_words import SoftWords

__all__ = ["STRATEGIES", "FeatureBatch", "Shapes", "Strategy", "build", "register"]

STRATEGIES: dict[str, type[Strategy]] = {}


def register(strategy: type[Strategy]) -> type[Strategy]:
    """Make a strategy known by its name, to configurations and checkpoints. Works as a decorator."""
    STRATEGIES[strategy.name] = strategy
    return strategy


for _known in (Prefix, Additive, CrossAttention, SoftWords):
    register(_known)


def build(name: str, shapes: Shapes, settings: dict[str, Any]) -> Strategy:
    """A strategy with fresh weights.

    Raises:
        InputError: there is none of this name, or it has no such settings.
    """
    if name not in STRATEGIES:
        raise InputError(f"Unknown fusion strategy {name!r}. Known: {', '.join(sorted(STRATEGIES))}.")
    try:
        return STRATEGIES[name](shapes, **settings)
    except TypeError as error:
        raise InputError(f"The settings of the fusion strategy {name} do not fit: {error}.") from error
