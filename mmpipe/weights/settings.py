"""What the environment says about weights. Read anew at each call, so that a program or a test can change it."""

from __future__ import annotations

import os
from pathlib import Path

_TRUE = frozenset({"1", "on", "true", "yes"})


def cache_root() -> Path:
    """``MMPIPE_CACHE``, else ``mmpipe`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    if own := os.environ.get("MMPIPE_CACHE"):
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "mmpipe"


def offline() -> bool:
    """``MMPIPE_OFFLINE``: nothing is fetched from anywhere."""
    return _is_set("MMPIPE_OFFLINE")


def hub_offline() -> bool:
    """``HF_HUB_OFFLINE``: the hub is not asked; the package registries still are."""
    return _is_set("HF_HUB_OFFLINE")


def hub_endpoint() -> str:
    """``HF_ENDPOINT``, a mirror of the hub; else the hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def accepted_licenses() -> frozenset[str]:
    """``MMPIPE_ACCEPT_LICENSE``: names of weights, separated by commas, whose restrictions the user accepts."""
    names = os.environ.get("MMPIPE_ACCEPT_LICENSE", "").split(",")
    return frozenset(name.strip() for name in names) - {""}


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in _TRUE
