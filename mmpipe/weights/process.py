"""A package manager as a child process: its lines as they come, and its own words when it fails."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from mmpipe.weights import disk
from mmpipe.weights.archives import SourceError

_GRACE_S = 5.0
_NO_ROOM = ("No space left on device", "ENOSPC", "Disk quota exceeded")


def lines(command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> Generator[str]:
    """Run ``command`` and give what it says, output and errors together.

    Close the generator (``contextlib.closing``) to stop the child early.

    Raises:
        SourceError: it does not start, or fails; the message has its last words.
        OSError: ENOSPC, when that is why it failed.
    """
    try:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise SourceError(f"{command[0]} does not start ({error.strerror})") from error
    said: deque[str] = deque(maxlen=40)
    assert child.stdout is not None
    try:
        for line in child.stdout:
            said.append(line.strip())
            yield said[-1]
        child.wait()
    finally:
        _stop(child)
        child.stdout.close()
    if child.returncode:
        if any(sign in line for line in said for sign in _NO_ROOM):
            raise disk.no_room()
        errors = [line for line in said if "error" in line.lower()] or [line for line in said if line]
        raise SourceError(f"{Path(command[0]).name} failed: {' / '.join(errors[-2:])[:500]}")


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
