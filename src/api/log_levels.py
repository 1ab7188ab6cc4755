"""`GET/PUT /v1/admin/log-levels`: what is logged, changed while the server runs. It lasts until the next change, or the end of the process."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from ..infra.config.logging import LOGGER_NAME, Level, LoggingCfg
from ..infra.logging_setup import change_levels
from ..telemetry.audit import AuditEvent, changing
from ..telemetry.logger import levels_now
from .admin import ADMIN
from .deps import CallerDep, PartsDep
from .schemas import Body, Out

MOST = 100
LoggerName = Annotated[str, StringConstraints(pattern=f"^{LOGGER_NAME}$")]

router = APIRouter(prefix="/v1/admin", tags=["admin"], dependencies=ADMIN)


class LevelsIn(Body):
    """What is left out is as `[logging]` has it: ``{}`` takes every change back."""

    level: Level | None = Field(None, description="Least severe message that is logged.")
    levels: dict[LoggerName, Level] | None = Field(None, max_length=MOST, description="Of single loggers and those below them; `root` is all others'.")


class LevelsOut(Out):
    """Levels in force, by logger: `src` is this service, `root` all that is not named."""

    levels: dict[str, str]


@router.get("/log-levels")
async def read_levels() -> LevelsOut:
    """The levels in force."""
    return LevelsOut(levels=levels_now())


@router.put("/log-levels")
async def write_levels(body: LevelsIn, identity: CallerDep, parts: PartsDep) -> LevelsOut:
    """Log at these levels from now on."""
    cfg = parts.settings.logging
    wanted = {"level": body.level or cfg.level, "levels": cfg.levels if body.levels is None else [f"{name}={level}" for name, level in body.levels.items()]}
    async with changing(await parts.audit(), AuditEvent.by(identity, "logging.levels")) as noted:
        changed = LoggingCfg.model_validate(wanted)
        change_levels(changed)
        noted.facts = {"level": changed.level, "loggers": len(changed.levels)}
    return LevelsOut(levels=levels_now())
