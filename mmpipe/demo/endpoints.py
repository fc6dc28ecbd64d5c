"""What the page's own JavaScript asks the server for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from mmpipe.demo.models import DemoModels
from mmpipe.demo.service import LiveService


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

    return router
