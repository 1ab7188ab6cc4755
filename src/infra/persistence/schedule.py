"""Retention as the server runs it: by one replica at a time, so often as is configured."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ...telemetry.logger import get_logger
from .retention import Retention, RetentionReport, iso

if TYPE_CHECKING:
    from ..config import PersistenceCfg
    from ..resource_manager import ResourceManager
    from .threads import ThreadService

log = get_logger(__name__)

JOB = "job:retention"
"""No thread's id: those are UUIDs."""
LOOK_S = 300.0
"""Seconds between two looks whether it is due, half as many at least, so that replicas do not look all at once."""
WAIT_S = 1.0
"""Whoever does not get the lock within that leaves the work to its holder."""


def is_scheduled(cfg: PersistenceCfg) -> bool:
    """Whether the server deletes by itself: a limit is set, and an interval."""
    return cfg.retention_every_h > 0 and (cfg.retention_days is not None or cfg.retention_threads is not None)


async def run_if_due(threads: ThreadService, retention: Retention, every: timedelta, now: datetime | None = None) -> RetentionReport | None:
    """Apply retention where ``every`` passed since any replica last did; None where it is not due, or another is at it.

    Raises:
        StorageError, ServiceUnavailableError: kinds of it; it stays due then.
    """
    moment = now or datetime.now(UTC)
    if not await _is_due(threads, moment):
        return None
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(WAIT_S):
                await stack.enter_async_context(threads.locks.hold(JOB))
        except TimeoutError:
            return None
        if not await _is_due(threads, moment):  # whoever held the lock has done it
            return None
        report = await retention.apply(now=now)
        await threads.rows.set_next_run(JOB, iso(moment + every))
        return report


async def keep_retained(resources: ResourceManager) -> None:
    """Look from time to time whether retention is due, and apply it; for as long as the server runs. A failure is logged, and tried again."""
    cfg = resources.settings.persistence
    if not is_scheduled(cfg):
        return
    while True:
        await asyncio.sleep(LOOK_S * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        try:
            threads: ThreadService = await asyncio.to_thread(resources.get, "threads")
            retention = Retention(threads, resources.store, cfg)
            await run_if_due(threads, retention, timedelta(hours=cfg.retention_every_h))
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: it has to go on, and say so
            log.error("retention failed; it is tried again", error=type(error).__name__, detail=error)


async def _is_due(threads: ThreadService, now: datetime) -> bool:
    due = await threads.rows.next_run(JOB)
    return due is None or due <= iso(now)
