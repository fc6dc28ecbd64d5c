"""The live sessions of the page: the hub of ``mmpipe serve``, which may come later than the page itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from mmpipe.demo.errors import told
from mmpipe.demo.measuring import SAMPLE_EVERY_S, Meter
from mmpipe.demo.models import DemoModels
from mmpipe.serve.connection import Connection
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.session_manager import SessionManager
from mmpipe.serve.wire import Close

logger = logging.getLogger(__name__)

#: How soon a page asks again while the models are being loaded.
RETRY_AFTER_S = 2.0
#: After the models could not be had: a network that is back, a model that was fetched meanwhile.
LOAD_AGAIN_AFTER_S = 30.0


class LiveService:
    """Sessions over the models of the page. Used on one event loop.

    ``pause``: waits for so many seconds between attempts to load the models.
    """

    def __init__(
        self, models: DemoModels, max_sessions: int, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.manager: SessionManager | None = None
        self.failure: str | None = None  # why there are no live sessions
        self.meter = Meter()
        self._models = models
        self._options = ServeOptions(max_sessions=max_sessions)
        self._pause = pause
        self._stopping = False

    @property
    def max_message_bytes(self) -> int:
        """Of a message on the WebSocket."""
        return self._options.max_message_bytes

    async def run(self) -> None:
        """Wait for the models, however often that takes, then look after the sessions until cancelled."""
        while self.manager is None:
            try:
                manager = SessionManager(await asyncio.to_thread(lambda: self._models.live), self._options)
                await manager.warmup()
                self.failure = manager.unready
            except Exception as error:
                self.failure = told(error)
            if self.failure is None:
                self.manager = manager
            else:
                await self._pause(LOAD_AGAIN_AFTER_S)
        if not self._stopping:
            await asyncio.gather(self.manager.sweep_for_ever(), self._measure())

    async def _measure(self) -> None:
        while True:
            self.meter.sample(time.monotonic(), self._models.stats())
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, whose right to be here was looked at."""
        if self.manager is not None:
            await Connection(websocket, self.manager).serve()
            return
        error: dict[str, Any] = {
            "type": "error",
            "code": Close.BUSY.code,
            "text": self.failure or "Warming up.",
            "retry_after_s": LOAD_AGAIN_AFTER_S if self.failure else RETRY_AFTER_S,
        }
        try:
            await websocket.accept()
            await websocket.send_json(error)
            await websocket.close(Close.BUSY, Close.BUSY.code)
        except (WebSocketDisconnect, RuntimeError) as gone:
            logger.debug("a refusal did not arrive: %s", type(gone).__name__)

    async def stop(self) -> None:
        """Finish what was said, end every session. May be called twice."""
        self._stopping = True
        if self.manager is not None:
            await self.manager.stop()
