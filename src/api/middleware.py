"""Pure ASGI middlewares of every request: correlation id, access log, last resort, and security headers.

None of them buffers, so streams pass through as they are.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.identity import Identity
from ..telemetry.logger import get_logger
from ..telemetry.otel import set_correlation_id
from .problems import respond_to

access_log = get_logger("src.api.access")
"""The access log; `[logging] folder` keeps it in a file of its own."""

REQUEST_ID_HEADER = "X-Request-ID"
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
API_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": API_CSP,
}
QUIET_PATHS = ("/health", "/static/", "/metrics")
"""Asked for all the time; logged at DEBUG."""


class RequestContext:
    """Outermost: gives each request its correlation id, logs it, and turns whatever nobody handled into a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        identifier = given if _ACCEPTABLE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = identifier
        set_correlation_id(identifier)
        status = 0
        start = time.perf_counter()

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = identifier
            await send(message)

        try:
            await self.app(scope, receive, tagged)
        except Exception as error:  # noqa: BLE001 - the last resort: a caller must never see a traceback
            response = respond_to(error, scope)
            if status == 0:
                await response(scope, receive, tagged)
        finally:
            write = access_log.debug if scope["path"].startswith(QUIET_PATHS) else access_log.info
            took = round((time.perf_counter() - start) * 1000, 1)
            caller: Identity | None = scope["state"].get("identity")
            who: dict[str, Any] = {"tenant": caller.tenant, "user": caller.user} if caller is not None else {}
            write("request", method=scope["method"], path=scope["path"], status=status, took_ms=took, correlation_id=identifier, **who)


class SecurityHeaders:
    """Headers that every answer carries; a response that sets one of them itself keeps its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        private = scope["path"].startswith("/v1/")

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _FIXED_HEADERS.items():
                    headers.setdefault(name, value)
                if private:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, secured)
