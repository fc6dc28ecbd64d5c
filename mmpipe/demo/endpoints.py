"""What the page's own JavaScript asks the server for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError

from mmpipe.demo.downloads import MAX_PARTS, SubtitleRequest
from mmpipe.demo.errors import told
from mmpipe.demo.measuring import figures, machine
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import MEANING
from mmpipe.demo.service import LiveService
from mmpipe.errors import MmpipeError
from mmpipe.translate import NAMES
from mmpipe.types import UNSPACED

#: Files of captions that are written at the same time.
_AT_ONCE = 2
_MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}


def endpoints(models: DemoModels, service: LiveService) -> APIRouter:
    """The routes below ``/demo``."""
    router = APIRouter()

    @router.get("/status")
    async def status() -> dict[str, Any]:
        """How far the models are."""
        return {
            "live": service.manager is not None and service.manager.not_ready is None,
            "failure": service.failure,
            "models": [asdict(part) for part in models.status],
        }

    @router.get("/languages")
    def languages() -> dict[str, Any]:
        """What can be spoken, translated and heard. Waits for the recognizer, on a thread."""
        try:
            spoken = models.recognized
        except MmpipeError as error:
            raise HTTPException(503, told(error)) from error
        return {
            "names": NAMES,
            "spoken": sorted(spoken),
            "routes": [
                {"source": route.source, "target": route.target, "tier": route.tier, "via": route.steps}
                for route in models.pairs.routes.values()
            ],
            "voices": sorted(models.pairs.voices),
            "unspaced": sorted(UNSPACED),
            "tiers": MEANING,
        }

    rendering = asyncio.Semaphore(_AT_ONCE)

    @router.post("/subtitles")
    async def subtitles(request: Request) -> Response:
        """A file of what the live tab showed."""
        async with rendering:
            wanted, text = await run_in_threadpool(_rendered, await request.body())
        return Response(text, media_type=_MEDIA_TYPES[wanted.kind])

    @router.get("/figures")
    def measured() -> dict[str, Any]:
        """What the engines do, what is loaded, on what machine."""
        return {
            **figures(service.meter, models.stats()),
            "machine": machine(),
            "models": [asdict(part) for part in models.status],
            "sessions": service.manager.live_sessions if service.manager else 0,
        }

    return router


def _rendered(body: bytes) -> tuple[SubtitleRequest, str]:
    """
    Raises:
        HTTPException: they are no captions.
    """
    if body.count(b"{") + body.count(b"[") > MAX_PARTS:  # megabytes of brackets would be gigabytes of objects
        raise HTTPException(413, "These are too many captions for one file.")
    try:
        wanted = SubtitleRequest.model_validate(json.loads(body))  # pydantic's own reader takes ten times the memory
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"These are no captions of the live tab: {where}: {first['msg']}.") from None
    except (ValueError, RecursionError):
        raise HTTPException(422, "These are no captions of the live tab, but no JSON at all.") from None
    return wanted, wanted.render()
