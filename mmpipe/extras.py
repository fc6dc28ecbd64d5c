"""Optional packages: imported where they are used, and named with the command that installs them when missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmpipe.errors import MissingDependencyError


def require(module: str, extra: str, what: str) -> Any:
    """Import ``module``, which the optional dependency group ``extra`` installs, for ``what`` (a noun phrase).

    Raises:
        MissingDependencyError: it is not installed, or is there and does not import.
    """
    try:
        return import_module(module)
    except ImportError as error:
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not import ({error})"
        raise MissingDependencyError(
            f"{what} needs the Python package {module!r}, which {reason}. Install it: pip install 'mmpipe[{extra}]'"
        ) from error
