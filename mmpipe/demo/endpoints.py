"""What the page's own JavaScript asks the server for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from mmpipe.demo.downloads import SubtitleRequest
from mmpipe.demo.errors import told
from mmpipe.demo.measuring import figures, machine
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import MEANING
from mmpipe.demo.service import LiveService
from mmpipe.errors import MmpipeError
from mmpipe.translate import NAMES
from mmpipe.translate.text import UNSPACED

_MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json"}


def endpoints(models: DemoModels, service: LiveService) -> APIRouter:
    """The routes below ``/demo``."""
    router = APIRouter()

    @router.get("/status")
    async def status() -> dict[str, Any]:
        """How far the models are."""
        return {
            "live": service.hub is not None and service.hub.not_ready is None,
            "failure": service.failure,
            "models": [asdict(part) for part in models.status],
        }

    @router.get("/languages")
    def languages() -> dict[str, Any]:
        """What can be spoken, translated and heard. Waits for the recogniser, on a thread."""
        try:
            spoken = models.recognised
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

    @router.post("/subtitles")
    def subtitles(request: SubtitleRequest) -> Response:
        """A file of what the live tab showed."""
        return Response(request.render(), media_type=_MEDIA_TYPES[request.kind])

    @router.get("/figures")
    def measured() -> dict[str, Any]:
        """What the engines do, what is loaded, on what machine."""
        return {
            **figures(service.meter, models.stats()),
            "machine": machine(),
            "models": [asdict(part) for part in models.status],
            "sessions": service.hub.live_sessions if service.hub else 0,
        }

    return router
