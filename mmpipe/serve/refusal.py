"""How a request is refused before the application sees it: a status and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from mmpipe.serve.wire import Close


@dataclass(frozen=True, slots=True)
class Refusal:
    """``status`` of HTTP, also for a WebSocket that is not accepted; ``text``: what is wrong, and what to do."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with it: it is an ASGI application."""
        response = PlainTextResponse(self.text, self.status, dict(self.headers))
        if scope["type"] == "http":
            await response(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send)
        if websocket.application_state is WebSocketState.CONNECTING:
            await receive()  # the request to connect
        if "websocket.http.response" in scope.get("extensions", {}):
            await websocket.send_denial_response(response)
        else:
            await websocket.close(Close.ORIGIN)  # before it was accepted, that is HTTP 403
