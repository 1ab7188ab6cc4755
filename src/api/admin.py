"""`/v1/admin`: the operator's view. No content of questions, answers or documents is in it.

Endpoints of other files join with ``router = APIRouter(prefix="/v1/admin", dependencies=ADMIN)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, params

from ..core.identity import Identity
from ..errors import PermissionDeniedError
from ..infra.config import ApiCfg
from ..telemetry.audit import AuditEvent, ended
from ..util.cache import TTLCache
from .deps import CallerDep, PartsDep

PER_MINUTE = 120
"""Requests of one caller: the page makes three each ten seconds."""


def is_admin(identity: Identity, cfg: ApiCfg) -> bool:
    """Whether a caller may see the operator's view: the local user where nobody signs in, else members of `[api] admin_group`."""
    if cfg.auth == "none":
        return True
    return bool(cfg.admin_group) and cfg.admin_group in identity.groups


async def require_admin(identity: CallerDep, parts: PartsDep) -> Identity:
    """The caller, who may see the operator's view.

    Raises:
        PermissionDeniedError: they may not.
    """
    cfg = parts.settings.api
    if not is_admin(identity, cfg):
        hint = "Its tokens are made with `rag token create --group`." if cfg.admin_group else "Nobody is: the setting names no group."
        error = PermissionDeniedError("Only operators may see this: members of the admin group.", setting="api.admin_group", hint=hint)
        await ended(await parts.audit(), AuditEvent.by(identity, "admin"), error)
        raise error
    return identity


class Throttle:
    """At most so many requests of one caller in a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.time) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: TTLCache[tuple[str, str, int], int] = TTLCache(1000, 120)

    def admit(self, identity: Identity) -> None:
        """Count a request.

        Raises:
            HTTPException: 429, with the seconds to wait.
        """
        now = self._clock()
        key = (identity.tenant, identity.user, int(now // 60))
        count = (self._counts.get(key) or 0) + 1
        self._counts.set(key, count)
        if count > self._per_minute:
            wait = str(60 - int(now % 60))
            raise HTTPException(429, f"More than {self._per_minute} requests to /v1/admin in a minute.", {"Retry-After": wait})


def within_rate(request: Request, identity: Annotated[Identity, Depends(require_admin)]) -> None:
    state = request.app.state
    if not hasattr(state, "admin_throttle"):
        state.admin_throttle = Throttle(PER_MINUTE)
    state.admin_throttle.admit(identity)


ADMIN: Sequence[params.Depends] = (Depends(within_rate),)
"""What every endpoint here asks for first: an operator, and not too often."""

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=ADMIN)
