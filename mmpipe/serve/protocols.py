"""uvicorn's protocols, within limits: what a peer may leave open, unread or in pieces is bounded.

They take what is read in small blocks (asyncio's ``BufferedProtocol``): a quarter of a megabyte of empty frames at once
would hold up everybody else for a second.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from mmpipe.serve.connections import Connections, Phase
from mmpipe.serve.network import NetworkOptions

#: Read at a time. A block of empty frames takes some 15 ms; sound comes in packets of a few kB.
_HTTP_BLOCK_BYTES, _WEBSOCKET_BLOCK_BYTES = 16_384, 4_096
#: A peer that goes on sending after the close frame.
_MAX_BYTES_AFTER_CLOSE = 262_144
_NOT_TEXT = 1007
_POLICY = 1008  # the close code for what breaks the rules of this server


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What all connections of a server share."""

    options: NetworkOptions
    connections: Connections
    tls: ssl.SSLContext | None = None


class _InBlocks(asyncio.BufferedProtocol):
    """Gives what was read to ``data_received``, a block at a time."""

    block_bytes = 0
    received_bytes = 0
    _block: bytearray | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._block is None:
            self._block = bytearray(self.block_bytes)
        return memoryview(self._block)

    def buffer_updated(self, nbytes: int) -> None:
        assert self._block is not None
        self.received_bytes += nbytes
        self.data_received(bytes(memoryview(self._block)[:nbytes]))

    if TYPE_CHECKING:

        def data_received(self, data: bytes) -> None: ...


class HttpProtocol(_InBlocks, H11Protocol):  # asyncio tells the two kinds of protocol apart
    """One connection, from its first byte; with TLS, which begins here, from before the handshake."""

    block_bytes = _HTTP_BLOCK_BYTES

    def __init__(self, *given: Any, limits: ConnectionLimits, **named: Any) -> None:
        super().__init__(*given, **named)
        self.address, self.requests = "", 0
        self._limits = limits
        self._raw: asyncio.Transport | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._early: bytearray | None = bytearray()  # what came before the handshake was seen to be over
        self._websocket: WebSocketProtocol | None = None
        self.ws_protocol_class = self._upgraded  # type: ignore[assignment]

    # --- the connection ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._raw = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._limits.connections.admit(self):
            transport.abort()
        elif self._limits.tls is None:
            self._begin(transport)
        else:
            transport.pause_reading()  # until the handshake takes over
            self._handshake = self.loop.create_task(self._secure(transport, self._limits.tls))

    async def _secure(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        timeout_s = self._limits.options.request_timeout_s
        try:
            secured = await self.loop.start_tls(transport, self, tls, server_side=True, ssl_handshake_timeout=timeout_s)
        except (OSError, asyncio.CancelledError):  # ssl.SSLError is one; it speaks no TLS, or has gone
            secured = None
        if isinstance(secured, asyncio.Transport) and not secured.is_closing():
            self._begin(secured)
        else:
            transport.abort()
            self._limits.connections.release(self)

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        early, self._early = self._early, None
        if early:
            self.data_received(bytes(early))

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.connections.release(self)
        if self._early is None:  # else uvicorn does not know of it
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
        else:
            super().data_received(data)

    def eof_received(self) -> None:
        if self._early is None:
            super().eof_received()

    def pause_writing(self) -> None:
        if self._early is None:
            super().pause_writing()

    def resume_writing(self) -> None:
        if self._early is None:
            super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # two answers cannot be given to one request
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        self.requests += 1
        super().on_response_complete()

    def _upgraded(self, **given: Any) -> WebSocketProtocol:
        self._websocket = WebSocketProtocol(limits=self._limits, opened_as=self, **given)
        return self._websocket

    # --- what Connections wants to know ---

    @property
    def phase(self) -> Phase:
        if self._early is not None:
            return Phase.REQUEST
        if self._websocket is not None:
            return Phase.WEBSOCKET
        answered = self.cycle is None or self.cycle.response_complete
        if self.conn.their_state is h11.IDLE and answered:
            return Phase.REQUEST
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.REFUSED_BODY if answered else Phase.BODY
        return Phase.ANSWER

    @property
    def reading(self) -> bool:
        return self.flow is None or not self.flow.read_paused

    @property
    def closing(self) -> bool:
        return self._top.is_closing()

    @property
    def unread_bytes(self) -> int:
        return self._top.get_write_buffer_size()

    def abort(self) -> None:
        self._top.abort()

    @property
    def _top(self) -> asyncio.Transport:
        transport: asyncio.Transport | None = self.transport or self._raw
        assert transport is not None
        return transport


class WebSocketProtocol(_InBlocks, WebSocketsSansIOProtocol):  # type: ignore[misc]
    """What an :class:`HttpProtocol` becomes."""

    block_bytes = _WEBSOCKET_BLOCK_BYTES

    def __init__(self, *given: Any, limits: ConnectionLimits, opened_as: HttpProtocol, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits, self._opened_as = limits, opened_as
        self._fragments = self._bytes_after_close = 0
        self._control_frames, self._control_frames_s = 0.0, self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.connections.release(self._opened_as)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.close_sent:
            self._bytes_after_close += len(data)
        if (
            self.transport.get_write_buffer_size() > self._limits.options.max_unread_bytes
            or self._bytes_after_close > _MAX_BYTES_AFTER_CLOSE
        ):
            self.transport.abort()

    def handle_text(self, event: Frame) -> None:
        self._fragments = 1
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        self._fragments = 1
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        self._fragments += 1
        if self._fragments > self._limits.options.max_fragments:
            self._refuse(f"a message of more than {self._limits.options.max_fragments} fragments")
        elif not self.close_sent:
            super().handle_cont(event)

    def handle_ping(self, *event: Any) -> None:
        self._count_control_frame()
        super().handle_ping(*event)

    def handle_pong(self, *event: Any) -> None:
        self._count_control_frame()
        super().handle_pong(*event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):  # uvicorn would log a traceback
            self.frames = []
            self._refuse("text that is not UTF-8", _NOT_TEXT)
            return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # it was refused in full; uvicorn would log an error

    def _count_control_frame(self) -> None:
        rate, now_s = self._limits.options.max_control_frames_per_s, self.loop.time()
        left = max(0.0, self._control_frames - (now_s - self._control_frames_s) * rate)
        self._control_frames, self._control_frames_s = left + 1, now_s
        if self._control_frames > 10 * rate:
            self._refuse("too many pings or pongs")

    def _refuse(self, why: str, code: int = _POLICY) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(code, why)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": why})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def http_protocol(limits: ConnectionLimits) -> Any:
    """What uvicorn makes a protocol with."""
    return partial(HttpProtocol, limits=limits)
