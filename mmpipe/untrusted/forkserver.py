"""The process that decoders are forked from: ``python -m mmpipe.untrusted.forkserver FD``.

It has one thread, reads orders from a socket that only its maker holds, and ends when that is closed.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from mmpipe.errors import MmpipeError
from mmpipe.logs import private_logs
from mmpipe.untrusted.channel import Channel, Kind
from mmpipe.untrusted.tasks import TASKS, warmup

_MAX_ORDER_BYTES = 2**20
_MAX_FILES = 8
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_NOBODY = 65_534
_LIBC = ctypes.CDLL(None)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a child ended
    warmup()
    while True:
        order, files, _, _ = socket.recv_fds(control, _MAX_ORDER_BYTES, _MAX_FILES)
        if not order:
            return
        if os.fork() == 0:
            control.close()
            _work(json.loads(order), files)
        for file in files:
            os.close(file)


def _work(order: dict[str, Any], files: list[int]) -> NoReturn:
    """In the child: do what was ordered, and end."""
    _die_first()
    connection = socket.socket(fileno=files[0])
    channel = Channel(connection)
    status = 1
    try:
        ourselves = os.pidfd_open(os.getpid())
        socket.send_fds(connection, [b"!"], [ourselves])
        os.close(ourselves)
        _lock_in(order["limits"])
        _log_to(channel)
        with private_logs():  # what a stranger's file is called is nothing for a log
            TASKS[order["task"]](channel, files[1:], **order["arguments"])
        channel.send(Kind.END)
        status = 0
    except MmpipeError as error:
        with suppress(OSError):
            channel.send(Kind.ERROR, {"error": type(error).__name__, "text": str(error)})
    except OSError:
        pass  # who asked has gone
    except Exception as error:  # whatever is not foreseen is the file's doing all the same
        with suppress(OSError):
            name, why = order["arguments"]["name"], type(error).__name__
            channel.send(
                Kind.ERROR, {"error": "MediaError", "text": f"{name!r} cannot be decoded ({why}): save it anew."}
            )
    finally:
        os._exit(status)  # and no farther: what runs at exit belongs to the process that was forked from


def _die_first() -> None:
    """Where the machine, or a unit with MemoryMax, runs out of memory, this goes rather than who asked."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def _lock_in(limits: dict[str, Any]) -> None:
    """Give up whatever decoding does not need. What was opened stays open; nothing else can be."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (nothing more is imported here)
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # is forgotten with the user
    _LIBC.prctl(_PR_SET_DUMPABLE, 0)
    for what, most in (
        (resource.RLIMIT_AS, used_bytes + limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _log_to(channel: Channel) -> None:
    """Warnings are for the log of who asked."""

    class Sender(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            channel.send(Kind.WARNING, {"text": record.getMessage()})

    logging.basicConfig(level=logging.WARNING, handlers=[Sender()], force=True)


if __name__ == "__main__":
    main()
