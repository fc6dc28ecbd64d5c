"""Messages between the server and a decoder's process: a kind, a length, that many bytes.

Neither side pickles. The server believes nothing that comes back: lengths are bounded before they are read, and what is
in a message is checked by who asked for it.
"""

from __future__ import annotations

import json
import socket
import struct
from enum import Enum
from typing import Any

#: Of a message: its kind, and the length of what follows.
HEADER = struct.Struct("<cI")
#: The largest message: a picture of as many pixels as are kept.
MAX_BYTES = 64 * 2**20
_MAX_JSON_BYTES = 2**20


class Kind(Enum):
    DATA = b"D"
    FACTS = b"F"  # JSON
    WARNING = b"W"  # JSON: a text for the log
    ERROR = b"E"  # JSON: the class of the error, and its text
    END = b"Z"


class BrokenChannelError(Exception):
    """The other side has gone, or does not keep to the form."""


class Channel:
    """One side of a connection.

    Args:
        connection: a stream socket; its time limit is how long a message may be waited for.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, kind: Kind, content: bytes | memoryview | dict[str, Any] = b"") -> None:
        """
        Raises:
            OSError: the other side has gone.
        """
        data = memoryview(json.dumps(content).encode() if isinstance(content, dict) else content).cast("B")
        self._socket.sendall(HEADER.pack(kind.value, len(data)))
        self._socket.sendall(data)

    def receive(self) -> tuple[Kind, bytes]:
        """The next message.

        Raises:
            BrokenChannelError: there is none, or it is none.
            TimeoutError: it does not come in time.
        """
        name, length = HEADER.unpack(self._read(HEADER.size))
        try:
            kind = Kind(name)
        except ValueError as error:
            raise BrokenChannelError(f"an unknown message: {name!r}") from error
        if length > (MAX_BYTES if kind is Kind.DATA else _MAX_JSON_BYTES):
            raise BrokenChannelError(f"a message of {length} bytes")
        return kind, self._read(length)

    def _read(self, length: int) -> bytes:
        found = bytearray(length)
        view = memoryview(found)
        while view:
            try:
                count = self._socket.recv_into(view)
            except ConnectionError as error:
                raise BrokenChannelError("the connection was lost") from error
            if not count:
                raise BrokenChannelError("the connection was closed")
            view = view[count:]
        return bytes(found)

    def detach(self) -> socket.socket:
        """The connection, for another way to read it: this one is closed."""
        connection, self._socket = self._socket, socket.socket()
        self._socket.close()
        return connection

    def close(self) -> None:
        self._socket.close()


def facts(content: bytes) -> dict[str, Any]:
    """What a JSON message says.

    Raises:
        BrokenChannelError: it is none, or no object.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenChannelError("a message that is no JSON") from error
    if not isinstance(found, dict):
        raise BrokenChannelError("a message that is no object")
    return found
