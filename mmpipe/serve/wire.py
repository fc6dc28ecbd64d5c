"""What server and client share: the layout of binary messages, the reasons for closing, 16-bit sound."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from mmpipe.errors import MmpipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATH = "/v1/live"
OPUS_RATE_HZ = 48_000  # Opus always counts in this rate (RFC 7587), whatever was encoded
_HEADER = struct.Struct("<II")
HEADER_BYTES = _HEADER.size
WRAP = 2**32  # positions count modulo this; sequence numbers do not wrap: at 50 a second they last for years


class Close(IntEnum):
    """Why a connection ends: the WebSocket close code; its name in small letters is the code in an ``error``."""

    DONE = 1000
    GOING_AWAY = 1001
    TOO_LARGE = 1009
    BAD_MESSAGE = 4400
    UNAUTHORISED = 4401
    ORIGIN = 4403
    UNKNOWN_SESSION = 4404
    IDLE = 4408
    REPLACED = 4409
    GONE = 4410
    TOO_FAST = 4429
    FAILED = 4500
    BUSY = 4503
    SLOW = 4508

    @property
    def code(self) -> str:
        return self.name.lower()

    @property
    def resumable(self) -> bool:
        """Whether the session lives on, so that connecting again makes sense. An unknown code means a lost network."""
        return self in (Close.IDLE, Close.SLOW)


class ProtocolError(MmpipeError):
    """The connection cannot go on. ``close`` says why; ``retry_after_s`` when another attempt may succeed."""

    def __init__(self, close: Close, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.close = close
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Packet:
    """A binary message: 8 bytes of header, two little-endian unsigned 32-bit numbers, then the payload.

    From the client: ``seq`` counts packets from 0; ``position`` is the place of the first sample in the stream, at
    the stated rate (48 kHz for Opus), modulo 2**32. From the server: ``seq`` is that of the ``spoken`` event,
    ``position`` the place of the first sample in the sound of that event.
    """

    seq: int
    position: int
    payload: bytes

    def pack(self) -> bytes:
        return _HEADER.pack(self.seq, self.position % WRAP) + self.payload

    @classmethod
    def unpack(cls, message: bytes) -> Packet:
        """
        Raises:
            ProtocolError: there is no header, or nothing behind it.
        """
        if len(message) <= HEADER_BYTES:
            raise ProtocolError(
                Close.BAD_MESSAGE,
                f"A binary message of {len(message)} bytes holds no sound: send {HEADER_BYTES} bytes of header "
                "(sequence number, position), then the payload.",
            )
        seq, position = _HEADER.unpack_from(message)
        return cls(seq, position, message[HEADER_BYTES:])


def to_pcm16(samples: NDArray[np.float32]) -> bytes:
    """float32 (n,) within -1..1, clipped, as little-endian 16-bit."""
    whole: NDArray[np.int16] = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype("<i2")
    return whole.tobytes()


def from_pcm16(data: bytes) -> NDArray[np.float32]:
    """Little-endian 16-bit as float32 (n,). The inverse of :func:`to_pcm16`."""
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
