"""`GET /v1/admin/hotspots`, `/degraded` and `/ingestion`: where the time goes, what went wrong, what was read in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from ..infra.hotspots.report import IngestRun, Report, Trouble, parse_span, read_ingests, read_report, read_troubles, window_of
from ..infra.hotspots.store import HotspotStore, Window, make_store
from ..util.cache import TTLCache
from .admin import ADMIN
from .deps import Parts, PartsDep

T = TypeVar("T")

KEPT_S = 2.0
MOST_ROWS = 100

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=ADMIN)

Since = Annotated[str, Query(max_length=20, description="How far back: 15m, 1h, 2d.")]
Tenant = Annotated[str | None, Query(max_length=200, description="Of this tenant alone.")]


class TroublesOut(BaseModel):
    """`GET /v1/admin/degraded`."""

    requests: tuple[Trouble, ...]


class IngestionOut(BaseModel):
    """`GET /v1/admin/ingestion`."""

    runs: tuple[IngestRun, ...]


class Views:
    """What was read of the store in the last seconds: many who look cost as much as one, and one look is under way at a time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = make_store(parts.settings)
        self._known: TTLCache[Hashable, Any] = TTLCache(64, KEPT_S)
        self._turn = asyncio.Lock()

    def seconds(self, since: str) -> int:
        """The seconds of a span of time.

        Raises:
            InputError: it is none, or more than is kept.
        """
        return parse_span(since, self._parts.settings.telemetry.hotspots_days * 86400)

    async def get(self, key: Hashable, look: Callable[[HotspotStore], T]) -> T:
        """What ``look`` finds, now or a moment ago. What this process holds is written before.

        Raises:
            StorageError: the store cannot be read.
        """
        async with self._turn:
            found = self._known.get(key)
            if found is None:
                found = await asyncio.to_thread(self._look, look)
                self._known.set(key, found)
            return cast("T", found)

    def _look(self, look: Callable[[HotspotStore], T]) -> T:
        if self._parts.hotspots is not None:
            self._parts.hotspots.flush()
        return look(self._store)


def views_of(request: Request, parts: PartsDep) -> Views:
    state = request.app.state
    if not hasattr(state, "hotspot_views"):
        state.hotspot_views = Views(parts)
    return cast("Views", state.hotspot_views)


ViewsDep = Annotated[Views, Depends(views_of)]


@router.get("/hotspots", response_model_exclude_none=True)
async def hotspots(views: ViewsDep, since: Since = "1h", tenant: Tenant = None) -> Report:
    """Stages by their share of the time, with p50, p95 and p99, budget misses and the change against the period before; and the slowest requests.

    Of `requests`, by kind, those count as failed that are not the caller's doing.
    """
    seconds = views.seconds(since)
    return await views.get(("hotspots", seconds, tenant), lambda store: read_report(store, seconds, tenant))


@router.get("/degraded")
async def degraded(views: ViewsDep, since: Since = "1d", tenant: Tenant = None) -> TroublesOut:
    """The latest requests that were answered with less than was asked for, or failed through no doing of the caller: why, when, and their ids."""
    window = _window(views, since, tenant)
    return TroublesOut(requests=await views.get(("degraded", window), lambda store: read_troubles(store, window, MOST_ROWS)))


@router.get("/ingestion")
async def ingestion(views: ViewsDep, since: Since = "1d", tenant: Tenant = None) -> IngestionOut:
    """The latest runs of ingestion, with what failed by reason."""
    window = _window(views, since, tenant)
    return IngestionOut(runs=await views.get(("ingestion", window), lambda store: read_ingests(store, window, MOST_ROWS)))


def _window(views: Views, since: str, tenant: str | None) -> Window:
    return window_of(time.time(), views.seconds(since), tenant)
