"""The bodies of requests, counted while they come in."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from mmpipe.serve.refusal import Refusal


class LimitedBody:
    """A ``receive`` that gives at most ``limit`` bytes. What comes after that ends the request."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._came = receive, limit, 0
        self.exceeded = False

    async def __call__(self) -> Message:
        if self.exceeded:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            if self._came > self._limit:
                self.exceeded = True
                return {"type": "http.disconnect"}  # whoever reads gives up, and nothing is parsed
        return message


def declared_bytes(scope: Scope) -> int | None:
    """What the request says that its body has; None: it does not say."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) < 19 else None
    return None


def too_large(limit: int) -> Refusal:
    return Refusal(413, f"That is too much: at most {limit / 1e6:g} MB are taken here.")
