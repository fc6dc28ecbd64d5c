"""A package manager as a child process: its lines as they come, its own words when it fails."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmpipe.weights.archives import SourceError

_GRACE_S = 5.0


def lines(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Run ``command`` and give what it says, line by line; output and errors together.

    When the caller stops listening (an exception, Ctrl-C), the child is stopped before this returns.

    Raises:
        SourceError: it cannot be started, or fails; the message ends with its last words.
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
    last: deque[str] = deque(maxlen=40)
    assert child.stdout is not None
    with child.stdout:
        try:
            for line in child.stdout:
                last.append(line.rstrip())
                yield last[-1]
            child.wait()
        finally:
            _stop(child)
    if child.returncode:
        errors = [line for line in last if "error" in line.lower()] or list(last)
        raise SourceError(f"{Path(command[0]).name} failed: {' / '.join(errors[-3:])[:600]}")


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
