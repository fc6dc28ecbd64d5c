"""A package manager as a child process: its lines as they come, and its own words when it fails."""

from __future__ import annotations

import shutil
import subprocess
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGXFSZ

from mmpipe.weights import disk
from mmpipe.weights.limits import SourceError, TooLargeError, limit_process

_GRACE_S = 5.0
_LINE_CHARS = 4096
_TOO_LARGE = ("File too large", "EFBIG")  # than limit_process() lets it write
_NO_ROOM = ("No space left on device", "ENOSPC", "Disk quota exceeded")


def lines(
    command: Sequence[str], what: str, max_bytes: int, *, env: Mapping[str, str], cwd: Path | None = None
) -> Generator[str]:
    """Run ``command`` to get ``what``, of at most ``max_bytes``, and give what it says, output and errors together.

    Close the generator (``contextlib.closing``) to stop the child early.

    Raises:
        SourceError: it does not start, or fails; the message has its last words.
        TooLargeError: what it gets is larger.
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
        with suppress(ProcessLookupError):  # it is through already
            limit_process(child.pid, max_bytes)
        while line := child.stdout.readline(_LINE_CHARS):
            said.append(line.strip())
            yield said[-1]
        child.wait()
    finally:
        _stop(child)
        child.stdout.close()
    if child.returncode:
        if child.returncode == -SIGXFSZ or any(sign in line for line in said for sign in _TOO_LARGE):
            raise TooLargeError(what, max_bytes)
        if any(sign in line for line in said for sign in _NO_ROOM):
            raise disk.no_room()
        errors = [line for line in said if "error" in line.lower()] or [line for line in said if line]
        raise SourceError(f"{Path(command[0]).name} failed: {' / '.join(errors[-2:])[:500]}")


@contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    """Delete ``paths``, files or folders, when what happens meanwhile fails: another source may need the room."""
    try:
        yield
    except BaseException:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
