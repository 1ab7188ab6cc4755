"""`GET /metrics`: figures for Prometheus. They hold no content, but tell how a company's service is used: whoever looks is asked for."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from ..core.identity import current_identity
from ..errors import RagError
from ..infra.metrics import current_store, scrape
from ..infra.metrics_commands import CommandFigures
from ..infra.metrics_listener import same_token, takes_gzip, token_of
from ..telemetry.logger import get_logger
from .admin import is_admin
from .deps import PartsDep
from .problems import problem, respond

if TYPE_CHECKING:
    from ..infra.config import Settings

log = get_logger(__name__)

router = APIRouter(tags=["health"])
COMPRESSION = 1
"""300 KB take 2 ms, and at level 9 five times as long for a tenth less."""


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}})
async def metrics(request: Request, parts: PartsDep) -> Response:
    """Figures as Prometheus reads them; in OpenMetrics, with trace ids, where it asks for that. Asks no other service."""
    settings = parts.settings
    if current_store() is None or settings.telemetry.metrics_port is not None:
        where = "They have a listener of their own: telemetry.metrics_port." if settings.telemetry.metrics else "Set telemetry.metrics = true."
        return respond(problem(404, "not-found", "No figures are shown here.", request.scope, hint=where))
    given = token_of(request.headers.get("authorization", ""))
    try:
        if not await _may(settings, given):
            hint = "Send telemetry.metrics_token as Authorization: Bearer TOKEN; or be of api.admin_group; or set telemetry.metrics_port."
            refused = problem(401, "unauthenticated", "Figures are shown to Prometheus and operators only.", request.scope, hint=hint)
            answer = respond(refused)
            answer.headers["WWW-Authenticate"] = 'Bearer realm="metrics"'
            return answer
    except RagError as error:
        log.error("the figures' token cannot be read", detail=str(error))
        return respond(problem(503, "unavailable", "Nobody can look at figures at present.", request.scope))
    body, headers = await asyncio.to_thread(Shown(settings), request.headers.get("accept", ""), takes_gzip(request.headers.get("accept-encoding", "")))
    return Response(body, headers=headers)


class Shown:
    """All figures as text; called from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._commands = CommandFigures(settings.storage.path)

    def __call__(self, accept: str, zipped: bool) -> tuple[bytes, dict[str, str]]:
        """Body and headers.

        Args:
            accept: header of the request.
        """
        body, content_type = scrape(accept, self._commands.mine())
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        if zipped:
            return gzip.compress(body, COMPRESSION), {**headers, "Content-Encoding": "gzip"}
        return body, headers


async def _may(settings: Settings, given: str) -> bool:
    """Who sends the token; and operators, whom `auth = none` makes of everybody on this machine."""
    token = settings.telemetry.metrics_token
    if token is not None and await asyncio.to_thread(same_token, given, token):
        return True
    identity = current_identity.get()
    return identity is not None and is_admin(identity, settings.api) and (token is None or settings.api.auth != "none")
