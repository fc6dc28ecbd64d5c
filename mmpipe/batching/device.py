"""One accelerator, shared by the stages that live on it."""

from __future__ import annotations

import threading
from collections import deque


class Device:
    """A turn on an accelerator: ``with device:`` holds it. First come, first served.

    Batchers that are given the same device never compute at the same time. A plain ``threading.Lock`` would do that
    too, but it goes to whoever asks next, which is mostly the one who has just released it: the stage with the
    longest queue would starve the others.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # released by whoever hands the device over to us: it stays taken in between

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
