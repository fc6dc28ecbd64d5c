"""Optional packages, named with the command that installs them when missing, and engines that users bring."""

from __future__ import annotations

from abc import ABCMeta
from importlib import import_module
from inspect import signature
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
        InputError: it cannot be imported, is something else, or cannot be made without arguments.
    """
    module, _, name = path.partition(":")
    if not (module and name) or module.startswith("."):
        raise InputError(f"Cannot load the engine {path!r}. Name it as module:Class, the module in full.")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"Cannot load the engine {path!r}: {error}. Name it as module:Class.") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(f"{path!r} is not a subclass of mmpipe.{kind.__name__}.")
    if isinstance(found, ABCMeta) and found.__abstractmethods__:
        lacking = ", ".join(sorted(found.__abstractmethods__))
        raise InputError(f"{path!r} is no whole engine: implement {lacking}.")
    try:
        signature(found).bind()
    except TypeError as error:
        raise InputError(f"{path!r} cannot be made without arguments ({error}): give them defaults.") from error
    return found()
