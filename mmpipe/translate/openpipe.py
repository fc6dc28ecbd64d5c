"""A shell pipeline kept open: programs joined by pipes that answer one text after another, without a shell.

Apertium's programs can flush on the null character (``-z``): a text goes in with a null byte behind it, and its
translation comes out with one behind it, while the programs and their dictionaries stay in memory. That is the
protocol of Apertium's own web service. Starting the programs for each text costs a hundred times more.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

_READ_BYTES = 65_536


class BrokenPipelineError(Exception):
    """The pipeline stopped answering; it must be closed. The message says how it ended."""


class OpenPipe:
    """``commands`` run at once, each reading what the one before it writes. POSIX only."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._programs = [command[0] for command in commands]
        self._processes: list[subprocess.Popen[bytes]] = []
        # One for all programs, read only to explain their death.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        upstream: int | IO[bytes] = subprocess.PIPE
        try:
            for command in commands:
                # A process group of its own: Ctrl-C reaches us alone, and close() ends the programs in order.
                process = subprocess.Popen(
                    command, stdin=upstream, stdout=subprocess.PIPE, stderr=self._stderr, process_group=0
                )
                self._processes.append(process)
                if not isinstance(upstream, int):
                    upstream.close()  # the program just started holds it; ours would hide the end of the one before
                assert process.stdout is not None
                upstream = process.stdout
        except OSError:
            self.close()
            raise
        first, last = self._processes[0].stdin, self._processes[-1].stdout
        assert first is not None and last is not None
        self._stdin, self._stdout = first, last
        os.set_blocking(first.fileno(), False)
        os.set_blocking(last.fileno(), False)

    def ask(self, texts: Sequence[bytes], timeout_s: float) -> Iterator[bytes]:
        """Send ``texts`` (none may hold a null byte) and yield the answers in order, as they come.

        Writing and reading go on together, so that no amount of text can fill the pipes and stop both sides.

        Raises:
            BrokenPipelineError: a program ended, or nothing came for ``timeout_s``.
        """
        unsent = memoryview(b"".join(text + b"\0" for text in texts))
        unread = bytearray()
        left = len(texts)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            while left:
                ready = {key.fileobj for key, _ in selector.select(timeout_s)}
                if not ready:
                    raise BrokenPipelineError(f"no answer for {timeout_s:g} s")
                if self._stdin in ready:
                    try:
                        unsent = unsent[os.write(self._stdin.fileno(), unsent) :]
                    except BrokenPipeError:
                        raise BrokenPipelineError(self._last_words()) from None
                    if not unsent:
                        selector.unregister(self._stdin)
                if self._stdout in ready:
                    read = os.read(self._stdout.fileno(), _READ_BYTES)
                    if not read:
                        raise BrokenPipelineError(self._last_words())
                    *answers, unread = (unread + read).split(b"\0")
                    left -= len(answers)
                    yield from (bytes(answer) for answer in answers)

    def close(self) -> None:
        """End the programs and wait for them. May be called twice."""
        for process in self._processes:
            process.kill()  # they keep no state: nothing is lost
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._processes = []
        self._stderr.close()

    def _last_words(self) -> str:
        """How the first program that failed ended; it took the others with it."""
        ends: list[str] = []
        for program, process in zip(self._programs, self._processes, strict=True):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(0.2)
                ends.append(f"{program} ended with code {code}")
                if code:
                    break
        self._stderr.seek(0)
        said = self._stderr.read(2000).decode(errors="replace").strip()
        return ": ".join([*ends[-1:], said]) if said else "".join(ends[-1:])
