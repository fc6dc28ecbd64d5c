"""What a person is told when something fails: the message of our own errors, one plain sentence for the rest."""

from __future__ import annotations

import logging

from mmpipe.errors import MmpipeError

logger = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong here that should not have; the server's log says what. The page goes on working."


def told(error: Exception) -> str:
    """``error`` in words for the page. What was not raised on purpose is logged with its traceback."""
    if isinstance(error, MmpipeError):
        return str(error)
    logger.error("an internal error, told to the page as such", exc_info=error)
    return UNEXPECTED
