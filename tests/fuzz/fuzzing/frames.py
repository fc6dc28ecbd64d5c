"""A client of the WebSocket that sends whatever it is told, well formed or not."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from fuzzing.outcome import HANG_S

MASK = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """One frame. ``length``: what its header says of that of ``payload``."""
    said = len(payload) if length is None else length
    head = bytes([fin << 7 | (rsv & 7) << 4 | (opcode & 15)])
    if said < 126:
        head += bytes([masked << 7 | said])
    elif said < 1 << 16:
        head += bytes([masked << 7 | 126]) + struct.pack(">H", said)
    else:
        head += bytes([masked << 7 | 127]) + struct.pack(">Q", said % (1 << 64))
    if not masked:
        return head + payload
    repeated = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + MASK + mixed.to_bytes(len(payload), "big")


class Client:
    """One connection, opened at once. ``clean``: nothing was sent until now after which the server owes no answer."""

    def __init__(self, made: socket.socket, headers: dict[str, str], path: str = "/v1/live") -> None:
        self._socket = made
        host, port = made.getpeername()[:2]
        self._protocol = ClientProtocol(parse_uri(f"ws://{host}:{port}{path}"), max_size=None)
        self.clean, self.gone = True, False
        self.started: dict[str, Any] | None = None
        self.messages: list[Any] = []  # JSON that came
        self.sound_bytes = 0
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self.send(b"".join(self._protocol.data_to_send()))
        self.read(until=lambda: self._protocol.state is not State.CONNECTING or self._protocol.handshake_exc)

    @property
    def status(self) -> int | None:
        """Of HTTP, where the handshake was refused."""
        refusal = self._protocol.handshake_exc
        response = getattr(refusal, "response", None)
        return response.status_code if response is not None else None

    @property
    def close_code(self) -> int | None:
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def send(self, data: bytes) -> None:
        """Whatever ``data`` is; nothing, where the server has gone.

        Raises:
            TimeoutError: it does not read.
        """
        if self.gone:
            return
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            self.gone = True

    def read(self, *, until: Any = lambda: False, timeout_s: float = HANG_S) -> bool:
        """Take in what comes, until something is so or the server has gone (True), or for ``timeout_s`` (False)."""
        until_s = time.monotonic() + timeout_s
        while not (self.gone or until()):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            finally:
                self._socket.settimeout(HANG_S)
            if not data:
                self.gone = True
                self._protocol.receive_eof()
                break
            self._protocol.receive_data(data)
            for answer in self._protocol.data_to_send():
                self.send(answer)
            for event in self._protocol.events_received():
                self._note(event)
        return True

    def _note(self, event: Any) -> None:
        match getattr(event, "opcode", None):
            case Opcode.TEXT:
                message = json.loads(event.data)
                self.messages.append(message)
                if message.get("type") == "started":
                    self.started = message
            case Opcode.BINARY:
                self.sound_bytes += len(event.data)
            case Opcode.PONG:
                self.messages.append({"type": "frame pong", "data": bytes(event.data)})
            case _:
                pass

    def answers(self) -> bool:
        """Whether a ping comes back, or the server has said goodbye, in time."""
        asked = b"still there?"
        self.send(frame(Opcode.PING, asked))
        return self.read(
            until=lambda: self.close_code is not None or {"type": "frame pong", "data": asked} in self.messages
        )

    def shut(self) -> None:
        """No more will be sent."""
        self.clean = False
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.gone = True

    def abort(self) -> None:
        """As a network that is lost."""
        if self._socket.fileno() < 0:
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self.gone = True
