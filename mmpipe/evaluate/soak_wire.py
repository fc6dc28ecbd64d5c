"""TCP and WebSocket connections of hostile clients: byte by byte, without a library that keeps to the rules."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from mmpipe.serve.wire import PATH

#: A connection over which nothing more can be sent for so long is full.
FULL_S = 4.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_HANDSHAKE_S = 15.0
_KEY = "bW1waXBlIHNvYWsgdGVzdA=="  # any 16 bytes
_SMALL_BUFFER = 4_096


class Raw:
    """A TCP connection to the server. A context manager, which resets it when it is left.

    Args:
        port: of the server, on this machine.
        address: of this machine, from which it comes; None: any.
        never_reads: take next to nothing of what the server sends.
    """

    def __init__(self, port: int, address: str | None, *, never_reads: bool = False) -> None:
        self._port, self._address, self._never_reads = port, address, never_reads

    async def __aenter__(self) -> Self:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.setblocking(False)
            if self._never_reads:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            if self._address:
                found.bind((self._address, 0))
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(_HANDSHAKE_S):
                await loop.sock_connect(found, ("127.0.0.1", self._port))
            self.reader, self.writer = await asyncio.open_connection(sock=found)
        except BaseException:
            found.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> bool:
        """Send ``data``. False: the server takes no more."""
        self.writer.write(data)
        try:
            async with asyncio.timeout(FULL_S):
                await self.writer.drain()
        except TimeoutError:
            return False
        return True

    async def request(
        self, method: str, path: str, headers: Mapping[str, str | bytes] | None = None, body: bytes = b""
    ) -> None:
        """Send a request, with the headers that were given and, if those do not say them, Host and Content-Length."""
        await self.send(_head(method, path, self._port, headers or {}, len(body)) + body)

    async def answer(self, within_s: float) -> str:
        """What the server answers: "HTTP 404", "closed", "reset" or "no answer"."""
        try:
            async with asyncio.timeout(within_s):
                line = await self.reader.readline()
        except TimeoutError:
            return "no answer"
        except OSError:
            return "reset"
        parts = line.split()
        if not parts:
            return "closed"
        return f"HTTP {parts[1].decode('ascii', 'replace')}" if len(parts) > 1 else "no HTTP"

    async def held(self, for_s: float) -> str:
        """Keep the connection open and say nothing. Gives what the server did about it."""
        found = await self.answer(for_s)
        return "left open" if found == "no answer" else found

    # --- WebSocket ---

    async def upgrade(self, headers: Mapping[str, str | bytes] | None = None) -> str:
        """Ask for the WebSocket of live sessions. "HTTP 101" is yes."""
        own = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": _KEY,
        }  # fmt: skip
        await self.send(_head("GET", PATH, self._port, {**own, **(headers or {})}, None))
        found = await self.answer(_HANDSHAKE_S)
        if found == "HTTP 101":
            async with asyncio.timeout(_HANDSHAKE_S):
                while (await self.reader.readline()).strip():
                    pass
        return found

    async def farewell(self, within_s: float) -> str:
        """Read until the server closes: "closed 4400", "closed", "reset"; or "left open" after ``within_s``."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    opcode, payload = await self._frame()
                    if opcode == CLOSE:
                        return f"closed {struct.unpack('>H', payload[:2])[0]}" if len(payload) > 1 else "closed"
        except TimeoutError:
            return "left open"
        except asyncio.IncompleteReadError:
            return "closed"
        except OSError:
            return "reset"

    async def _frame(self) -> tuple[int, bytes]:
        first, length = await self.reader.readexactly(2)
        length &= 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(length)


def frame(opcode: int, payload: bytes = b"", *, last: bool = True, says: int | None = None) -> bytes:
    """A WebSocket frame of a client. Its mask is 0, so that it need not be computed.

    Args:
        opcode: 0 goes on with a message.
        payload: what is in it.
        last: it is the last one of its message.
        says: the length that it says it has, where that is not its length.
    """
    length = len(payload) if says is None else says
    first = bytes((opcode | (0x80 if last else 0),))
    if length < 126:
        head = bytes((0x80 | length,))
    elif length < 65_536:
        head = bytes((0x80 | 126,)) + struct.pack(">H", length)
    else:
        head = bytes((0x80 | 127,)) + struct.pack(">Q", length)
    return first + head + bytes(4) + payload


def _head(method: str, path: str, port: int, headers: Mapping[str, str | bytes], length: int | None) -> bytes:
    given = {name.lower() for name in headers}
    whole = dict(headers)
    if "host" not in given:
        whole["Host"] = f"127.0.0.1:{port}"
    if length is not None and not {"content-length", "transfer-encoding"} & given:
        whole["Content-Length"] = str(length)
    lines = [f"{method} {path} HTTP/1.1".encode()]
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) for name, value in whole.items()
    ]
    return b"\r\n".join((*lines, b"", b""))
