"""What a person is told when something fails: the message of our own errors, one plain sentence for the rest."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

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


def refuse_what_gradio_fails_on(app: FastAPI) -> None:
    """Have ``app``, Gradio's, answer 400 to requests that no page of its own makes, and that its routes look at without
    a check: a function that does not exist, a list for a name. It would be its error, with a hundred lines in the log.
    What our handlers raise does not come here: Gradio catches it."""

    async def refuse(_: Request, error: Exception) -> JSONResponse:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        logger.warning(
            "a request was refused: %s in %s", type(error).__name__, f"{Path(frame.filename).name}:{frame.name}"
        )
        return JSONResponse({"detail": "That is no request that the page makes."}, 400)

    for kind in (AttributeError, LookupError, TypeError, ValueError):
        app.add_exception_handler(kind, refuse)


def _log_what_is_handled(*_: object, **__: object) -> None:
    error = sys.exception()
    if error is not None:
        logger.error("a handler of the page failed\n%s", without_text(error))
