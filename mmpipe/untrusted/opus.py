"""Opus packets from strangers, one after another, as a live session sends them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.errors import MediaError, MmpipeError
from mmpipe.untrusted.channel import HEADER, Kind
from mmpipe.untrusted.process import ProcessLimits, Request, request

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: A session lasts hours, of which decoding takes a hundredth.
LIMITS = ProcessLimits(memory_bytes=64 * 2**20, cpu_s=3600, stall_s=5.0)
RATE_HZ = 48_000
#: The longest that a packet may hold (RFC 6716): 120 ms, here of float32.
_MAX_BYTES = RATE_HZ * 120 // 1000 * 4
#: A decoder that ended before its time is begun anew, so often.
_MAX_FAILURES = 3


class UntrustedOpus:
    """A decoder of one stream, in a process of its own that begins with the first packet. Used on one event loop."""

    def __init__(self) -> None:
        self._child: tuple[Request, asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._failures = 0
        self._closed = False
        self._last_samples = RATE_HZ // 50

    async def decode(self, payload: bytes) -> tuple[NDArray[np.float32], bool]:
        """Decode a packet. Not to be cancelled, nor called again before it has returned.

        Returns:
            float32 (n,) at 48 kHz, mono, and whether it is sound; else it is silence in place of a damaged packet.

        Raises:
            MediaError: the decoder crashed again and again.
        """
        samples = None
        try:
            async with asyncio.timeout(LIMITS.stall_s):
                samples = await self._answer(payload)
        except (TimeoutError, OSError, EOFError, MmpipeError) as error:
            logger.warning("an Opus decoder ended before its time: %s", type(error).__name__)
            self._end()
            self._failures += 1
            if self._failures > _MAX_FAILURES:
                raise MediaError("The Opus packets crash their decoder. Encode them anew, or send pcm16.") from error
        if samples is None:
            return np.zeros(self._last_samples, np.float32), False
        self._last_samples = len(samples) or self._last_samples
        return samples, True

    async def _answer(self, payload: bytes) -> NDArray[np.float32] | None:
        """Samples; None: the packet is damaged."""
        if self._child is None:
            child = await asyncio.to_thread(request, "opus", {"name": "a live session"}, [], LIMITS, "a live session")
            if self._closed:
                child.end()
                raise MediaError("the session is over")
            self._child = child, *await asyncio.open_connection(sock=child.channel.detach())
        _, reader, writer = self._child
        writer.write(HEADER.pack(Kind.DATA.value, len(payload)) + payload)
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        if length > _MAX_BYTES or length % 4:
            raise MediaError("more sound than a packet holds")
        content = await reader.readexactly(length)
        return np.nan_to_num(np.frombuffer(content, "<f4").astype(np.float32)) if kind == Kind.DATA.value else None

    def close(self) -> None:
        """End the process. Nothing more will be decoded."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        if self._child is not None:
            child, _, writer = self._child
            self._child = None
            writer.close()
            child.end()
