"""HTTP requests as server spans: pure ASGI, no framework. The caller's trace goes on in them; without an SDK and without `/metrics` nothing is done."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from . import metrics, otel
from .spans import NO_SPAN, NoSpan, begin

if TYPE_CHECKING:
    from .running import RunningSpan

Scope = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}
"""For FastAPI, which would trace requests itself, with ids in their paths, log what a request failed with word for word, and take
exporters from the environment."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class TraceRequests:
    """Outermost: span ``METHOD ROUTE`` and ``http.server.request.duration``. The path's own ids, its query and all bodies stay out."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.active = 0
        metrics.watch("http.server.active_requests", self, lambda served: [(served.active, {})])

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not metrics.recording():
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        verb = scope["method"] if scope["method"] in METHODS else "_OTHER"
        shared: dict[str, object] = {"http.request.method": verb, "url.scheme": scope.get("scheme", "http")}
        span: RunningSpan | NoSpan = NO_SPAN
        if otel.on():
            span = begin(verb, shared, kind="SERVER", parent=otel.incoming(_trace_headers(scope)))
        status = 0
        self.active += 1

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        kind: type[BaseException] | None = None
        try:
            await self.app(scope, receive, noted)
        except BaseException as error:
            kind = type(error)
            raise
        finally:
            self.active -= 1
            if route := str(getattr(scope.get("route"), "path", "")):
                span.rename(f"{verb} {route}")
            shared |= {"http.route": route or None, "http.response.status_code": status or None, "error.type": str(status) if status >= 500 else None}
            span.add({**shared, "rag.correlation_id": scope.get("state", {}).get("request_id")})
            if status >= 500:
                span.fail(str(status))
            metrics.record("http.server.request.duration", time.perf_counter() - started, shared)
            span.end(kind)


def _trace_headers(scope: Scope) -> dict[str, str]:
    """``traceparent`` and ``tracestate`` of a request, no other header."""
    wanted = (b"traceparent", b"tracestate")
    return {name.decode("ascii"): value.decode("latin-1") for name, value in scope.get("headers", ()) if name in wanted}
