"""What the environment says about weights. Read anew at each call, so that a test or a program can change it."""

from __future__ import annotations

import os
from pathlib import Path

_TRUE = frozenset({"1", "on", "true", "yes"})


def cache_root() -> Path:
    """``MMPIPE_CACHE``, else ``mmpipe`` in the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``)."""
    if own := os.environ.get("MMPIPE_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "mmpipe"


def offline() -> bool:
    """``MMPIPE_OFFLINE``: nothing is fetched from anywhere."""
    return _is_set("MMPIPE_OFFLINE")


def hub_offline() -> bool:
    """``HF_HUB_OFFLINE``: the hub is not asked; the package registries still are."""
    return offline() or _is_set("HF_HUB_OFFLINE")


def accepted_licences() -> frozenset[str]:
    """``MMPIPE_ACCEPT_LICENCE``: names of weights, separated by commas, whose restrictions are accepted."""
    return frozenset(name.strip() for name in os.environ.get("MMPIPE_ACCEPT_LICENCE", "").split(",") if name.strip())


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _TRUE
