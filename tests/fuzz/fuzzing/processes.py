"""How processes of the fuzzers are started: with the same mmpipe, and this package."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]


def environment(**more: str) -> dict[str, str]:
    """That of this process, with ``more``."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH"), str(ROOT)]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", **more}
