"""How an adapter came to be, written beside it."""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmpipe.fusion.training.config import RunConfig

_PACKAGES = ("mmpipe", "torch", "transformers", "peft", "accelerate")


def write(folder: Path, config: RunConfig, config_file: Path, results: dict[str, Any]) -> None:
    """``provenance.json``. ``results``: the commit that was trained with, steps and scores."""
    told = {
        "config_file": config_file.name,
        "config": config.model_dump(mode="json", exclude={"data": {"train", "validation", "test"}}),
        "seed": config.seed,
        "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "sha256": json.loads((folder / "config.json").read_text("utf-8"))["sha256"],
        **results,
    }
    (folder / "provenance.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def commit() -> str:
    """The commit that this code is at, "+" behind it if it was changed since; "unknown" outside a repository."""
    folder = Path(__file__).parents[1]
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *words: str) -> str:
    run = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=30)
    return run.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
