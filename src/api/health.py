"""`/health`: for load balancers and people. Live says that this process answers; ready, that it can serve."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from ..core.identity import current_identity
from ..infra.health import Health
from .admin import is_admin
from .deps import Parts, PartsDep
from .schemas import HealthOut

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", response_model_exclude_none=True)
async def live() -> HealthOut:
    """The process answers. Depends on nothing else, so that an outage elsewhere never restarts it."""
    return HealthOut(status="alive")


@router.get("/ready", response_model_exclude_none=True)
async def ready(parts: PartsDep, response: Response) -> HealthOut:
    """Questions can be answered; 503 while not."""
    health = await _check(parts, required_only=True)
    response.status_code = 200 if health.ready else 503
    return HealthOut(status="ready" if health.ready else "not ready")


@router.get("", response_model_exclude_none=True)
async def health(parts: PartsDep, response: Response) -> HealthOut:
    """Every component. What is wrong with one is told to operators: it may name files and hosts of the server."""
    found = await _check(parts)
    response.status_code = 200 if found.ready else 503
    identity = current_identity.get()
    return HealthOut.model_validate(found.shape(messages=identity is not None and is_admin(identity, parts.settings.api)))


async def _check(parts: Parts, *, required_only: bool = False) -> Health:
    checker = await asyncio.to_thread(lambda: parts.resources.health)
    return await checker.check_all(required_only=required_only)
