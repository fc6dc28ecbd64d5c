"""An answer while it is being written, for threads and for coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

from mmpipe.generation.requests import Generation


class GenerationStream:
    """Pieces of text as they become certain, and the whole answer at the end.

    ::

        for piece in stream: ...          # or: async for piece in stream
        answer = stream.result()          # or: await stream

    Any number of threads and coroutines may read, each from the beginning. Whoever fails in the engine raises here,
    after the pieces there were. A coroutine that is cancelled while it waits cancels the answer.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._changed = threading.Condition()
        self._pieces: list[str] = []
        self._generation: Generation | None = None
        self._error: BaseException | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def cancel(self) -> None:
        """Stop writing, at the next step. The result is what was written so far. Does nothing at the end."""
        self._cancel()

    @property
    def done(self) -> bool:
        return self._generation is not None or self._error is not None

    def result(self, timeout_s: float | None = None) -> Generation:
        """The whole answer, when it is there.

        Raises:
            TimeoutError: it is not there in time. It goes on being written.
            MmpipeError: what went wrong with it.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.done, timeout_s):
                raise TimeoutError(f"No answer within {timeout_s:g} s.")
        return self._outcome()

    def __iter__(self) -> Iterator[str]:
        read = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=read: self._news(seen))  # type: ignore[misc]
                pieces = self._pieces[read:]
            if not pieces:
                self._outcome()
                return
            read += len(pieces)
            yield from pieces

    async def __aiter__(self) -> AsyncIterator[str]:
        read = 0
        while True:
            await self._wait(lambda seen=read: self._news(seen))  # type: ignore[misc]
            pieces = self._pieces[read:]
            if not pieces:
                self._outcome()
                return
            read += len(pieces)
            for piece in pieces:
                yield piece

    def __await__(self) -> Generator[Any, None, Generation]:
        yield from self._wait(lambda: self.done).__await__()
        return self._outcome()

    # --- for the engine ---

    def push(self, piece: str) -> None:
        if piece:
            with self._changed:
                self._pieces.append(piece)
                self._wake()

    def finish(self, generation: Generation) -> None:
        with self._changed:
            self._generation = generation
            self._wake()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._wake()

    @property
    def text(self) -> str:
        """What there is so far."""
        return "".join(self._pieces)

    # --- inside ---

    def _news(self, read: int) -> bool:
        return len(self._pieces) > read or self.done

    def _outcome(self) -> Generation:
        if self._error is not None:
            raise self._error
        assert self._generation is not None
        return self._generation

    async def _wait(self, until: Callable[[], bool]) -> None:
        while True:
            loop = asyncio.get_running_loop()
            with self._changed:
                if until():
                    return
                woken = loop.create_future()
                self._waiting.append((loop, woken))
            try:
                await woken
            except asyncio.CancelledError:
                self.cancel()
                raise

    def _wake(self) -> None:
        self._changed.notify_all()
        for loop, woken in self._waiting:
            with suppress(RuntimeError):  # its loop has ended
                loop.call_soon_threadsafe(_resolve, woken)
        self._waiting.clear()


def _resolve(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
