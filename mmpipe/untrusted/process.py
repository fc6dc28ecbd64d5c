"""Processes for decoding, made from one that has everything loaded: a fork takes milliseconds, an import half a second.

The process that is forked from (:mod:`mmpipe.untrusted.forkserver`) never sees a stranger's byte itself. Each request
gets a child of its own, which ends with it: nothing is handed on from one stranger to the next.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from threading import BoundedSemaphore, Lock
from typing import Any

from mmpipe.errors import ImageError, InputError, MediaError, MmpipeError, OutputError
from mmpipe.untrusted.channel import BrokenChannelError, Channel, Kind, facts

logger = logging.getLogger(__name__)

#: What a child may say went wrong.
_ERRORS: dict[str, type[MmpipeError]] = {
    error.__name__: error for error in (ImageError, InputError, MediaError, OutputError)
}
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What a child may use.

    Args:
        memory_bytes: of address space, beyond what a fresh child has.
        cpu_s: of computing, in all.
        stall_s: until the next message, while it is waited for.
    """

    memory_bytes: int
    cpu_s: int
    stall_s: float


class Request:
    """A child at work. Used by one thread at a time, and by :func:`requested` only made and ended."""

    def __init__(self, connection: socket.socket, pidfd: int, name: str) -> None:
        self.channel = Channel(connection)
        self.name = name
        self._pidfd = pidfd

    def messages(self) -> Iterator[bytes | dict[str, Any]]:
        """Data, and facts, until the end.

        Raises:
            MmpipeError: what the child says went wrong.
            MediaError: it ended without a word, or said nothing for too long.
        """
        while True:
            try:
                kind, content = self.channel.receive()
                if kind is Kind.END:
                    return
                if kind is Kind.ERROR:
                    told = facts(content)
                    raise _ERRORS.get(str(told.get("error")), MediaError)(str(told.get("text"))[:2000])
                if kind is Kind.WARNING:
                    logger.warning("%s", str(facts(content).get("text"))[:500])
                    continue
                message = content if kind is Kind.DATA else facts(content)
            except TimeoutError as error:
                raise MediaError(f"{self.name!r} takes too long to decode. Is it damaged?") from error
            except BrokenChannelError as error:
                raise MediaError(
                    f"{self.name!r} could not be decoded: it takes too much memory or time, or crashes the decoder. "
                    "Save or record it anew, smaller."
                ) from error
            yield message

    def end(self) -> None:
        """Kill the child, if it is still there."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        self.channel.close()


class ForkServer:
    """Makes children. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Have it ready before the first request comes. Returns at once."""
        with self._lock:
            self._started()

    def request(
        self, task: str, arguments: dict[str, Any], files: Sequence[int], limits: ProcessLimits, name: str
    ) -> Request:
        """Have a child do ``task`` (see :mod:`mmpipe.untrusted.tasks`) with open ``files``.

        Raises:
            MmpipeError: no process can be made.
        """
        ours, theirs = socket.socketpair()
        order = json.dumps({"task": task, "arguments": arguments, "limits": asdict(limits)}).encode()
        try:
            with theirs:
                for last in (False, True):
                    try:
                        with self._lock:
                            socket.send_fds(self._started(), [order], [theirs.fileno(), *files])
                        break
                    except OSError:
                        if last:
                            raise
                        self.close()  # it was killed: for want of memory, say
            ours.settimeout(limits.stall_s)
            message, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
            if not message:
                raise BrokenPipeError("no process was made")
        except OSError as error:
            ours.close()
            raise MmpipeError(f"No process can be made to decode {name!r}: {error}. Try again later.") from error
        return Request(ours, descriptors[0], name)

    def _started(self) -> socket.socket:
        if self._process is None or self._process.poll() is not None:
            self._forget()
            # messages with borders: an order is read whole, with its files
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    # -P: what lies in the folder that the server was started in is nothing to import
                    [sys.executable, "-P", "-m", "mmpipe.untrusted.forkserver", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C is for us
                )
        assert self._control is not None
        return self._control

    def close(self) -> None:
        """End it, and all of its children."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _environment() -> dict[str, str]:
    """Nothing that is secret; one thread for arithmetic, since threads do not survive a fork."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


_SERVER = ForkServer()
atexit.register(_SERVER.close)
start, close, request = _SERVER.start, _SERVER.close, _SERVER.request


@contextmanager
def requested(
    task: str,
    arguments: dict[str, Any],
    files: Sequence[int],
    limits: ProcessLimits,
    name: str,
    places: BoundedSemaphore,
) -> Iterator[Request]:
    """A child that does ``task``, as soon as there is room in ``places``; killed at the end of the block.

    Raises: as :meth:`ForkServer.request`.
    """
    with places:
        child = request(task, arguments, files, limits, name)
        try:
            yield child
        finally:
            child.end()
