"""The web page: live translation, recordings, pictures, measurements. ``mmpipe demo`` serves it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmpipe.demo.options import DemoOptions

if TYPE_CHECKING:
    from mmpipe.serve.audit import AuditLog

logger = logging.getLogger(__name__)

__all__ = ["DemoOptions", "run"]


def run(
    options: DemoOptions | None = None, said: Callable[[str], None] = logger.info, audit: AuditLog | None = None
) -> None:
    """Serve the page until the process is told to stop. See :func:`mmpipe.demo.server.run`.

    Raises:
        MissingDependencyError: the extra "demo" is not installed.
        InputError: the address cannot be used.
    """
    from mmpipe.demo import server

    server.run(options, said, audit)
