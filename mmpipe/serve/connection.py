"""One WebSocket connection: an opening message, then packets and control messages in, events out."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mmpipe.logs import without_text
from mmpipe.serve.access import Caller, RefusedError, bearer
from mmpipe.serve.eventlog import LoggedEvent
from mmpipe.serve.messages import Ack, Finish, Opening, Ping, Playing, Resume, parse_control, parse_opening
from mmpipe.serve.session import ServedSession
from mmpipe.serve.session_manager import SessionManager
from mmpipe.serve.wire import Close, Packet, ProtocolError

logger = logging.getLogger(__name__)

#: Sound between two acknowledgements.
ACK_EVERY_S = 1.0

#: After these the session lives on. A client that breaks the rules would break them again.
_FORGIVEN = {Close.DONE, Close.IDLE, Close.SLOW, Close.REPLACED}

_BEARER = "bearer "


class Connection:
    """Serves ``websocket`` until either side ends it. The session may live on without it."""

    def __init__(self, websocket: WebSocket, manager: SessionManager) -> None:
        self.sent_seq = 0
        self.allowed_bytes = manager.options.max_unsent_bytes
        self._websocket, self._manager, self._options = websocket, manager, manager.options
        self._caller = Caller(address=websocket.client.host if websocket.client else None)
        self._began_s = self._heard_from_s = manager.clock.now_s()
        self._leaving: asyncio.Future[ProtocolError] = asyncio.get_running_loop().create_future()
        self._opening_time: asyncio.Timeout | None = None  # while the first message is waited for
        self._acknowledged_s = 0.0
        self._ack_due = self._pong_due = False
        self._bytes_in = self._bytes_out = 0
        self._why = "lost"  # it ended: for the audit log

    async def serve(self) -> None:
        websocket, manager = self._websocket, self._manager
        try:
            self._admit_connection()
        except RefusedError as refusal:
            await self._deny(refusal)
            return
        manager.metrics.connections.inc()
        self._note("connection.opened")
        try:
            await websocket.accept()
            session = await self._open()
            if session is not None:
                await self._converse(session)
        finally:
            manager.room.leave(self)
            manager.metrics.connections.dec()
            self._note(
                "connection.closed",
                why=self._why,
                seconds=round(manager.clock.now_s() - self._began_s, 1),
                bytes_in=self._bytes_in,
                bytes_out=self._bytes_out,
            )

    def _admit_connection(self) -> None:
        """Look at what the handshake shows, before anything is accepted.

        Raises:
            RefusedError: the key is not good.
        """
        headers, keys = self._websocket.headers, self._manager.keys
        if bearer(headers.get("authorization")) is not None:
            key = keys.check_header(headers.get("authorization"), self._caller.address, "live")
            self._caller = replace(self._caller, key=key)
        self._manager.room.enter(self, self._caller)

    async def _deny(self, refusal: RefusedError) -> None:
        """An answer of HTTP instead of a connection, where the server can give one; else it is 403."""
        self._manager.metrics.closed.labels(refusal.close.code).inc()
        self._manager.metrics.refused.labels(refusal.why).inc()
        self._note("connection.refused", why=refusal.why)
        try:
            if "websocket.http.response" in (self._websocket.scope.get("extensions") or {}):
                headers = {"Retry-After": f"{refusal.retry_after_s:.0f}"} if refusal.retry_after_s else {}
                if refusal.status == 401:
                    headers["WWW-Authenticate"] = "Bearer"
                answer = JSONResponse(_error(refusal), refusal.status, headers)
                await self._websocket.send_denial_response(answer)
            else:
                await self._websocket.close(refusal.close)
        except (WebSocketDisconnect, RuntimeError) as error:
            logger.debug("a refusal did not arrive: %s", type(error).__name__)

    def _note(self, what: str, **facts: str | float | None) -> None:
        self._manager.audit.note(what, who=self._caller.name, address=self._caller.address, **facts)

    def leave(self, farewell: ProtocolError) -> None:
        """End the connection, soon, for the reason that ``farewell`` gives."""
        if not self._leaving.done():
            self._leaving.set_result(farewell)
        if (
            self._opening_time is not None and not self._opening_time.expired()
        ):  # nothing came yet: do not wait for it any more
            self._opening_time.reschedule(asyncio.get_running_loop().time())

    @property
    def idle_s(self) -> float:
        return self._manager.clock.now_s() - self._heard_from_s

    # --- the opening ---

    async def _open(self) -> ServedSession | None:
        """The session that the client asks for; None: it was sent away, or has gone."""
        try:
            try:
                async with asyncio.timeout(self._options.start_timeout_s) as self._opening_time:
                    if self._leaving.done():  # it had to make room before it was here
                        raise self._leaving.result()
                    opening = await self._opening()
            finally:
                self._opening_time = None
                self._manager.room.leave(self)
            return await self._enter(opening)
        except TimeoutError:
            farewell = ProtocolError(Close.IDLE, "No start message came. docs/protocol.md shows one.")
            if self._leaving.done():
                farewell = self._leaving.result()
            await self._say_farewell(farewell)
        except ProtocolError as farewell:
            await self._say_farewell(farewell)
        except WebSocketDisconnect:
            self._why = "left"
        return None

    async def _opening(self) -> Opening:
        message = await self._next_message()
        if isinstance(message, bytes):
            raise ProtocolError(Close.BAD_MESSAGE, "The first message must be start or resume, as JSON text.")
        return parse_opening(message)

    async def _enter(self, opening: Opening) -> ServedSession:
        keys = self._manager.keys
        if opening.api_key is not None:
            key = keys.check(opening.api_key.get_secret_value(), self._caller.address, "live")
            self._caller = replace(self._caller, key=key)
        elif self._caller.key is None:
            keys.check(None, self._caller.address, "live")  # there may be none, where none is wanted
        if self._caller.key is not None:
            self._note("key.used")
        if isinstance(opening, Resume):
            session = self._manager.resume(opening, self._caller)
            session.log.acknowledge(opening.last_event)
            self.sent_seq = opening.last_event
            # what has gathered may be sent before it counts as slowness
            self.allowed_bytes += session.log.bytes_after(self.sent_seq)
        else:
            session = await self._manager.admit(opening, self._caller)
        session.attach(self)
        return session

    # --- the conversation ---

    async def _converse(self, session: ServedSession) -> None:
        sending = asyncio.create_task(self._send_events(session))
        receiving = asyncio.create_task(self._receive(session))
        tasks = [sending, receiving]
        farewell: ProtocolError | None = None
        cause: str | None = None  # why the session will not be resumed
        try:
            await asyncio.wait([*tasks, self._leaving], return_when=asyncio.FIRST_COMPLETED)
            if self._leaving.done():
                farewell = self._leaving.result()
            else:
                if sending.done() and isinstance(sending.exception(), WebSocketDisconnect):
                    # sending finds out that the client has gone; only receiving, with which code
                    await asyncio.wait([receiving], timeout=self._options.close_timeout_s)
                farewell = next(task for task in (receiving, sending) if task.done()).result()
        except ProtocolError as error:
            farewell = error
        except WebSocketDisconnect as gone:
            cause = "left" if gone.code == Close.DONE else None  # uvicorn gives others to a network that was lost
            self._why = cause or "lost"
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
            self._manager.left(session, cause)
        if farewell is not None:
            await self._say_farewell(farewell)

    async def _receive(self, session: ServedSession) -> ProtocolError:
        while True:
            await asyncio.sleep(0)  # many may be there already, and others have their turns
            message = await self._next_message()
            session.spend_message()
            if isinstance(message, bytes):
                await session.hear(Packet.unpack(message))
            else:
                match parse_control(message):
                    case Finish(packets=packets):
                        await session.finish(packets)
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
        self._heard_from_s = self._manager.clock.now_s()
        content: str | bytes | None = message.get("text")
        if content is None:
            content = bytes(message["bytes"])
        self._bytes_in += len(content)
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

    async def _send_entry(self, entry: LoggedEvent) -> None:
        await self._websocket.send_text(entry.text)
        for chunk in entry.sound:
            await self._websocket.send_bytes(chunk)
        self._bytes_out += entry.size_bytes

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
        self._manager.metrics.closed.labels(farewell.close.code).inc()
        self._why = farewell.close.code
        if isinstance(farewell, RefusedError):
            self._why = farewell.why
            self._manager.metrics.refused.labels(farewell.why).inc()
            self._note("session.refused", why=farewell.why)
        try:
            async with asyncio.timeout(self._options.close_timeout_s):
                if farewell.close is not Close.DONE:
                    await self._send(_error(farewell))
                if self._websocket.application_state is not WebSocketState.DISCONNECTED:
                    await self._websocket.close(farewell.close, farewell.close.code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            logger.debug("a farewell did not arrive: %s", type(error).__name__)  # the client has gone, or does not read


def _error(farewell: ProtocolError) -> dict[str, Any]:
    error: dict[str, Any] = {"type": "error", "code": farewell.close.code, "text": str(farewell)}
    if farewell.retry_after_s is not None:
        error["retry_after_s"] = farewell.retry_after_s
    return error
