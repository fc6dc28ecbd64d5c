"""Optional packages, named with the command that installs them when missing, and engines that users bring."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mmpipe.errors import InputError, MissingDependencyError


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


def load_engine(path: str, kind: type[Any]) -> Any:
    """An instance of the class that ``path`` names as "module:Class", which must be a ``kind``.

    Raises:
        InputError: it cannot be imported, or is something else.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"Cannot load the engine {path!r}: {error}. Name it as module:Class.") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(f"{path!r} is not a subclass of mmpipe.{kind.__name__}.")
    return found()
