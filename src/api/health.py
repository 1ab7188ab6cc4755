"""`/health`: for load balancers and people. Live says that this process answers; ready, that it can serve."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from ..core.identity import current_identity
from ..infra.health import ComponentHealth, Health
from .deps import Parts, PartsDep
from .schemas import ComponentOut, HealthOut

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", response_model_exclude_none=True)
async def live() -> HealthOut:
    """The process answers. Depends on nothing else, so that an outage elsewhere never restarts it."""
    return HealthOut(status="alive")


@router.get("/ready", response_model_exclude_none=True)
async def ready(parts: PartsDep, response: Response) -> HealthOut:
    """Questions can be answered; 503 while not."""
    health = await _check(parts)
    response.status_code = 200 if health.ready else 503
    return HealthOut(status="ready" if health.ready else "not ready")


@router.get("", response_model_exclude_none=True)
async def health(parts: PartsDep, response: Response) -> HealthOut:
    """Every component. What is wrong with one is told to callers who are signed in."""
    found = await _check(parts)
    response.status_code = 200 if found.ready else 503
    components = {component.name: _component(component) for component in found.components}
    return HealthOut(status=_status(found), components=components)


async def _check(parts: Parts) -> Health:
    checker = await asyncio.to_thread(lambda: parts.resources.health)
    return await checker.check_all()


def _status(health: Health) -> str:
    if not health.ready:
        return "unhealthy"
    return "healthy" if all(component.status == "healthy" for component in health.components) else "degraded"


def _component(component: ComponentHealth) -> ComponentOut:
    message = component.message if current_identity.get() is not None else ""
    return ComponentOut(status=component.status, latency_ms=component.latency_ms, required=component.required, message=message or None)
