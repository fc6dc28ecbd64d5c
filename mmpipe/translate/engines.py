"""Which engines there are, and which of them can be had now."""

from __future__ import annotations

import importlib.util
import logging

from mmpipe.errors import MissingDependencyError
from mmpipe.stage import Translator
from mmpipe.translate.apertium import ApertiumTranslator
from mmpipe.translate.bergamot import BergamotTranslator
from mmpipe.weights import WeightsState, available

logger = logging.getLogger(__name__)


def installed_engines() -> list[Translator]:
    """The engines that need nothing more than what is here: Bergamot; Apertium's installed language pairs; Gemma once
    its terms were accepted and it was fetched. Models for CTranslate2 are chosen by the caller."""
    engines: list[Translator] = []
    try:
        engines.append(BergamotTranslator())
    except MissingDependencyError as error:
        logger.warning("%s", error)
    try:
        engines.append(ApertiumTranslator())
    except MissingDependencyError as error:
        logger.debug("%s", error)
    if _gemma_is_here():
        from mmpipe.translate.llama import GemmaTranslator

        engines.append(GemmaTranslator())
    return engines


def _gemma_is_here() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None and any(
        status.entry.name == "gemma3-270m" and status.state is WeightsState.PRESENT for status in available()
    )
