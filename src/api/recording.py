"""What the server itself has to say to the audit trail: who was not let in, and with which configuration it started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import Scope

from ..errors import RagError, ServiceUnavailableError
from ..infra.audit.fingerprint import configuration_event
from ..infra.audit.trail import AuditLog
from ..infra.resource_manager import ResourceManager
from ..telemetry.audit import AuditEvent, AuditTrail, ended
from ..telemetry.logger import get_logger

log = get_logger(__name__)

PER_SECOND = 5
"""Refused sign-ins that are recorded, a second; the rest is counted: whoever knocks must not fill the disk."""


class SignInRefusals:
    """Records who was turned away. Never fails: the caller gets the 401 all the same.

    Args:
        trail: gives the audit trail; asked in a thread, as it may have to be built.
        clock: for tests.
    """

    def __init__(self, trail: Callable[[], AuditTrail], clock: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._clock = clock
        self._left = float(PER_SECOND)
        self._seen = clock()
        self._counted = 0

    async def __call__(self, scope: Scope, error: RagError) -> None:
        """Record one refusal, or count it."""
        if isinstance(error, ServiceUnavailableError) or not self._admits():
            return
        facts: dict[str, str | int | bool] = {"client": (scope.get("client") or ("",))[0], "method": scope.get("method", "")}
        if self._counted:
            facts["not_recorded"], self._counted = self._counted, 0
        try:
            trail = await asyncio.to_thread(self._trail)
        except RagError as failure:
            log.error("a refused sign-in could not be recorded", detail=str(failure))
            return
        await ended(trail, AuditEvent("signin", facts=facts), error)

    def _admits(self) -> bool:
        now = self._clock()
        self._left = min(float(PER_SECOND), self._left + (now - self._seen) * PER_SECOND)
        self._seen = now
        if self._left < 1:
            self._counted += 1
            return False
        self._left -= 1
        return True


async def record_configuration(resources: ResourceManager) -> None:
    """Record with which configuration the server starts. A failure is logged, and shows in `/health/ready`."""
    try:
        trail = await asyncio.to_thread(resources.get, "audit")
        if isinstance(trail, AuditLog):
            await trail.record(await asyncio.to_thread(configuration_event, resources.settings, trail.keys, trail.path))
    except RagError as error:
        log.error("the start could not be recorded", detail=str(error))
