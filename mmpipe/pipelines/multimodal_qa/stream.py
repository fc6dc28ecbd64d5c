"""An answer on its way, for threads and for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition
from typing import Any

from mmpipe.types import Answer


class AnswerStream:
    """Pieces of an answer as they become certain, and the whole of it.

    ::

        for piece in stream: ...          # or: async for piece in stream
        answer = stream.result()          # or: await stream

    The pieces are never taken back: what may still turn into a refusal, or has to be translated as a whole, comes when
    that is decided. What goes wrong is raised after the pieces there were. Cancelling a coroutine that waits cancels
    the answer; waiting for a cancelled one raises CancelledError.
    """

    def __init__(self) -> None:
        self._future: Future[Answer] = Future()
        self._changed = Condition()
        self._pieces: list[str] = []
        self._wakers: list[Callable[[], object]] = []
        self._stop: Callable[[], object] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Stop working on it. Does nothing at the end."""
        with self._changed:
            self._cancelled = True
            stop = self._stop
        if self._future.cancel():
            self._wake()
        if stop is not None:
            stop()

    def result(self, timeout_s: float | None = None) -> Answer:
        """The answer, when it is there.

        Raises:
            TimeoutError: it is not there in time. It is worked on nevertheless.
            MmpipeError: what went wrong with it.
        """
        return self._future.result(timeout_s)

    def __iter__(self) -> Iterator[str]:
        read = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=read: len(self._pieces) > seen or self._future.done())  # type: ignore[misc]
                pieces = self._pieces[read:]
            if not pieces:
                self._future.result()
                return
            read += len(pieces)
            yield from pieces

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, woken, read = asyncio.get_running_loop(), asyncio.Event(), 0
        with self._changed:
            self._wakers.append(lambda: loop.call_soon_threadsafe(woken.set))
        while True:
            woken.clear()
            done = self._future.done()  # before the pieces are looked at: the last one comes before the end
            pieces = self._pieces[read:]
            read += len(pieces)
            for piece in pieces:
                yield piece
            if done:
                self._future.result()
                return
            if not pieces:
                try:
                    await woken.wait()
                except asyncio.CancelledError:
                    self.cancel()
                    raise

    def __await__(self) -> Generator[Any, None, Answer]:
        return self._wait().__await__()

    async def _wait(self) -> Answer:
        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            self.cancel()
            raise

    # --- for the pipeline ---

    def start(self) -> bool:
        """It is about to be worked on. False: nobody wants it any more."""
        return self._future.set_running_or_notify_cancel()

    @property
    def cancelled(self) -> bool:
        """Nobody wants it any more."""
        return self._cancelled

    def stop_with(self, stop: Callable[[], object]) -> None:
        """How to stop what is being computed for it now."""
        with self._changed:
            self._stop = stop
            cancelled = self._cancelled
        if cancelled:
            stop()

    def push(self, piece: str) -> None:
        if piece:
            with self._changed:
                self._pieces.append(piece)
            self._wake()

    @property
    def text(self) -> str:
        """What there is so far."""
        return "".join(self._pieces)

    def finish(self, answer: Answer) -> None:
        self._future.set_result(answer)
        self._wake()

    def fail(self, error: BaseException) -> None:
        self._future.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
            for waker in self._wakers:
                with suppress(RuntimeError):  # its loop has ended
                    waker()
