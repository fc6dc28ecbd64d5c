"""What a person is told when something fails: the message of our own errors, one plain sentence for the rest."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from mmpipe.errors import MmpipeError
from mmpipe.logs import without_text

logger = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong here that should not have; the server's log says what. The page goes on working."


def told(error: Exception) -> str:
    """``error`` in words for the page. What was not raised on purpose is logged, without its message."""
    if isinstance(error, MmpipeError):
        return str(error)
    logger.error("an internal error, told to the page as such\n%s", without_text(error))
    return UNEXPECTED


@contextmanager
def gradio_without_text() -> Iterator[None]:
    """Have Gradio log what a handler raises rather than print it with its message. It has no setting for that."""
    import gradio.queueing
    import gradio.route_utils
    import gradio.routes

    modules: list[Any] = [gradio.queueing, gradio.route_utils, gradio.routes]
    quiet = cast(ModuleType, SimpleNamespace(**vars(traceback) | {"print_exc": _log_what_is_handled}))
    for module in modules:
        module.traceback = quiet
    try:
        yield
    finally:
        for module in modules:
            module.traceback = traceback


def _log_what_is_handled(*_: object, **__: object) -> None:
    error = sys.exception()
    if error is not None:
        logger.error("a handler of the page failed\n%s", without_text(error))
