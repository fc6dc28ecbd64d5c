"""One WebSocket connection: an opening message, then packets and control messages in, events out."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mmpipe.logs import without_text
from mmpipe.serve.eventlog import Entry
from mmpipe.serve.hub import Hub
from mmpipe.serve.messages import Ack, Finish, Opening, Ping, Playing, Resume, parse_control, parse_opening
from mmpipe.serve.options import origin_allowed
from mmpipe.serve.session import ServedSession
from mmpipe.serve.wire import Close, Packet, ProtocolError

logger = logging.getLogger(__name__)

#: Sound between two acknowledgements.
ACK_EVERY_S = 1.0

#: After these the session lives on. A client that breaks the rules would break them again.
_FORGIVEN = {Close.DONE, Close.IDLE, Close.SLOW, Close.REPLACED}

_BEARER = "bearer "


class Connection:
    """Serves ``websocket`` until either side ends it. The session may live on without it."""

    def __init__(self, websocket: WebSocket, hub: Hub) -> None:
        self.sent_seq = 0
        self.allowed_bytes = hub.options.max_unsent_bytes
        self._websocket, self._hub, self._options = websocket, hub, hub.options
        self._heard_from_s = hub.clock.now_s()
        self._leaving: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._acknowledged_s = 0.0
        self._ack_due = self._pong_due = False

    async def serve(self) -> None:
        websocket, hub = self._websocket, self._hub
        if not origin_allowed(websocket.headers.get("origin"), self._options.allowed_origins):
            hub.metrics.closed.labels(Close.ORIGIN.code).inc()
            await websocket.close(Close.ORIGIN)  # before it was accepted, that is HTTP 403
            return
        if hub.connections >= self._options.max_connections:
            hub.metrics.closed.labels(Close.BUSY.code).inc()
            await websocket.close(Close.BUSY)
            return
        hub.metrics.connections.inc()
        try:
            session = await self._open()
            if session is not None:
                await self._converse(session)
        finally:
            hub.metrics.connections.dec()

    def leave(self, farewell: ProtocolError) -> None:
        """End the connection, soon, for the reason that ``farewell`` gives."""
        if not self._leaving.done():
            self._leaving.set_result(farewell)

    @property
    def idle_s(self) -> float:
        return self._hub.clock.now_s() - self._heard_from_s

    # --- the opening ---

    async def _open(self) -> ServedSession | None:
        """The session that the client asks for; None: it was sent away, or has gone."""
        self._hub.connections += 1
        try:
            await self._websocket.accept()
            async with asyncio.timeout(self._options.start_timeout_s):
                opening = await self._opening()
            session = await self._enter(opening)
        except TimeoutError:
            await self._say_farewell(ProtocolError(Close.IDLE, "No start message came. docs/protocol.md shows one."))
        except ProtocolError as farewell:
            await self._say_farewell(farewell)
        except WebSocketDisconnect:
            pass
        else:
            return session
        finally:
            self._hub.connections -= 1
        return None

    async def _opening(self) -> Opening:
        message = await self._next_message()
        if isinstance(message, bytes):
            raise ProtocolError(Close.BAD_MESSAGE, "The first message must be start or resume, as JSON text.")
        return parse_opening(message)

    async def _enter(self, opening: Opening) -> ServedSession:
        header = self._websocket.headers.get("authorization", "")
        given = header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else None
        if opening.api_key is not None:
            given = opening.api_key.get_secret_value()
        if not self._hub.keys.allow(given):
            raise ProtocolError(Close.UNAUTHORISED, "The API key is missing or wrong.")
        if isinstance(opening, Resume):
            session = self._hub.resume(opening)
            session.log.acknowledge(opening.last_event)
            self.sent_seq = opening.last_event
            # what has gathered may be sent before it counts as slowness
            self.allowed_bytes += session.log.bytes_after(self.sent_seq)
        else:
            session = await self._hub.admit(opening)
        session.attach(self)
        return session

    # --- the conversation ---

    async def _converse(self, session: ServedSession) -> None:
        tasks = [
            asyncio.create_task(self._send_events(session)),
            asyncio.create_task(self._receive(session)),
        ]
        farewell: ProtocolError | None = None
        cause: str | None = None  # why the session will not be resumed
        try:
            await asyncio.wait([*tasks, self._leaving], return_when=asyncio.FIRST_COMPLETED)
            if self._leaving.done():
                farewell = self._leaving.result()
            else:
                farewell = next(task for task in tasks if task.done()).result()
        except ProtocolError as error:
            farewell = error
        except WebSocketDisconnect as gone:
            cause = "left" if gone.code == Close.DONE else None  # uvicorn gives others to a network that was lost
        except Exception as error:
            logger.error("session %s: internal error\n%s", session.id, without_text(error))
            session.end_soon("failed", "internal error")
            farewell = ProtocolError(Close.FAILED, "Internal error. The server's log has more.")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            session.detach(self)
            if farewell is not None and farewell.close not in _FORGIVEN:
                cause = farewell.close.code
            self._hub.left(session, cause)
        if farewell is not None:
            await self._say_farewell(farewell)

    async def _receive(self, session: ServedSession) -> ProtocolError:
        while True:
            message = await self._next_message()
            session.spend_message()
            if isinstance(message, bytes):
                session.hear(Packet.unpack(message))
            else:
                match parse_control(message):
                    case Finish(packets=packets):
                        session.finish(packets)
                        self._ack_due = True
                    case Ack(event=event):
                        session.log.acknowledge(min(event, self.sent_seq))
                    case Playing(playing=playing):
                        session.note_playing(playing)
                    case Ping():
                        self._pong_due = True
            if session.received_s - self._acknowledged_s >= ACK_EVERY_S:
                self._ack_due = True
            if self._ack_due or self._pong_due:
                session.news.set()

    async def _next_message(self) -> str | bytes:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        self._heard_from_s = self._hub.clock.now_s()
        content: str | bytes | None = message.get("text")
        if content is None:
            content = bytes(message["bytes"])
        if len(content) > self._options.max_message_bytes:
            raise ProtocolError(
                Close.TOO_LARGE,
                f"A message of {len(content)} bytes: at most {self._options.max_message_bytes} are allowed.",
            )
        return content

    async def _send_events(self, session: ServedSession) -> ProtocolError:
        await self._send(self._started(session))
        while True:
            if self._pong_due:
                self._pong_due = False
                await self._send({"type": "pong"})
            if self._ack_due:
                self._ack_due, self._acknowledged_s = False, session.received_s
                await self._send({"type": "ack", "next_packet": session.next_packet})
            entry = session.log.after(self.sent_seq)
            if entry is not None:
                await self._send_entry(entry)
                self.sent_seq = entry.seq
            elif session.ended:
                return ProtocolError(Close.DONE, "ended")
            elif not (self._pong_due or self._ack_due):
                session.news.clear()
                await session.news.wait()

    async def _send_entry(self, entry: Entry) -> None:
        await self._websocket.send_text(entry.text)
        for chunk in entry.sound:
            await self._websocket.send_bytes(chunk)

    def _started(self, session: ServedSession) -> dict[str, Any]:
        return {
            "type": "started",
            "session": session.id,
            "token": session.token,
            "next_packet": session.next_packet,
            "grace_s": self._options.grace_s,
            "idle_s": self._options.idle_s,
            "max_session_s": self._options.max_session_s,
            "max_message_bytes": self._options.max_message_bytes,
        }

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(json.dumps(message, ensure_ascii=False))

    async def _say_farewell(self, farewell: ProtocolError) -> None:
        self._hub.metrics.closed.labels(farewell.close.code).inc()
        try:
            async with asyncio.timeout(self._options.close_timeout_s):
                if farewell.close is not Close.DONE:
                    error: dict[str, Any] = {"type": "error", "code": farewell.close.code, "text": str(farewell)}
                    if farewell.retry_after_s is not None:
                        error["retry_after_s"] = farewell.retry_after_s
                    await self._send(error)
                if self._websocket.application_state is not WebSocketState.DISCONNECTED:
                    await self._websocket.close(farewell.close, farewell.close.code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            logger.debug("a farewell did not arrive: %s", type(error).__name__)  # the client has gone, or does not read
