"""The door to the OpenTelemetry API for traces: open once an SDK is set up, by `setup_telemetry`, ``opentelemetry-instrument`` or the process's own code.

While none is, the API is neither imported nor called. Figures have a door of their own: `metrics`. What this package says
itself is said under one prefix, `rag.`; what OTel's conventions for HTTP, databases and generative AI name is said in their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from . import sdk

if TYPE_CHECKING:
    from opentelemetry.context import Context

CORRELATION_HEADER = "X-Request-ID"

_correlation: ContextVar[str] = ContextVar("rag_correlation", default="")


def correlation_id() -> str:
    """Of the request that is running; empty outside of one."""
    return _correlation.get()


def set_correlation_id(identifier: str) -> None:
    """Say which request is running: in this task or thread, and in what it starts."""
    _correlation.set(identifier)


def on() -> bool:
    """Whether spans may go anywhere."""
    return sdk.set_up()


def outgoing() -> dict[str, str]:
    """Headers that carry trace and correlation id to another service; none where not `on`.

    W3C trace context alone: baggage, which callers fill, stays here.
    """
    if not sdk.set_up():
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    if identifier := _correlation.get():
        headers[CORRELATION_HEADER] = identifier
    return headers


def with_outgoing(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The headers, and those that carry trace and correlation id."""
    more = outgoing()
    return {**(headers or {}), **more} if more else headers


def incoming(headers: Mapping[str, str]) -> Context:
    """The context that a caller's ``traceparent`` names. Only where `on`."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers)
