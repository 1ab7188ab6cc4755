"""The one door to the OpenTelemetry API: open once an SDK is loaded, by `setup_telemetry`, ``opentelemetry-instrument`` or the process's own code.

While none is, the API is neither imported nor called. What this package says itself is said under one prefix, `rag.`;
what OTel's conventions for HTTP, databases and generative AI name is said in their names.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .attributes import Labels

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Tracer

SDK = "opentelemetry.sdk.trace"
"""The module that only a process with an SDK has loaded."""
SCOPE = "founders-rag"
CORRELATION_HEADER = "X-Request-ID"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the histograms of durations."""

_correlation: ContextVar[str] = ContextVar("rag_correlation", default="")


def correlation_id() -> str:
    """Of the request that is running; empty outside of one."""
    return _correlation.get()


def set_correlation_id(identifier: str) -> None:
    """Say which request is running: in this task or thread, and in what it starts."""
    _correlation.set(identifier)


def on() -> bool:
    """Whether spans and metrics may go anywhere."""
    return SDK in sys.modules


class _Instruments:
    """A provider's tracer or instruments, made once: making a tracer takes the SDK longer than a span."""

    def __init__(self) -> None:
        self.labels = Labels()
        self._traced_by: Any = None
        self._tracer: Any = None
        self._metered_by: Any = None
        self._meter: Any = None
        self._made: dict[str, Any] = {}

    def tracer(self) -> Tracer:
        from opentelemetry import trace

        provider = trace.get_tracer_provider()
        if provider is not self._traced_by:
            self._tracer, self._traced_by = provider.get_tracer(SCOPE), provider
        tracer: Tracer = self._tracer
        return tracer

    def meter(self) -> Meter:
        from opentelemetry import metrics

        provider = metrics.get_meter_provider()
        if provider is not self._metered_by:
            self._made = {}
            self._meter, self._metered_by = provider.get_meter(SCOPE), provider
        meter: Meter = self._meter
        return meter

    def instrument(self, kind: str, name: str, unit: str, bounds: tuple[float, ...] | None = None) -> Any:
        meter = self.meter()
        made = self._made.get(name)
        if made is None:
            more = {"explicit_bucket_boundaries_advisory": list(bounds)} if bounds else {}
            made = self._made[name] = getattr(meter, f"create_{kind}")(name, unit=unit, **more)
        return made


_instruments = _Instruments()


def tracer() -> Tracer:
    """This package's tracer, of the process's provider. Only where `on`."""
    return _instruments.tracer()


def record(name: str, value: float, attributes: Mapping[str, object], *, unit: str = "s", bounds: tuple[float, ...] = SECONDS) -> None:
    """Add a value to a histogram, where `on`."""
    if on():
        _instruments.instrument("histogram", name, unit, bounds).record(value, _instruments.labels.of(name, attributes))


def count(name: str, amount: float, attributes: Mapping[str, object], *, unit: str = "1") -> None:
    """Add to a counter, where `on`."""
    if on():
        _instruments.instrument("counter", name, unit).add(amount, _instruments.labels.of(name, attributes))


def gauge(name: str, value: float, attributes: Mapping[str, object], *, unit: str = "1") -> None:
    """Set a gauge, where `on`."""
    if on():
        _instruments.instrument("gauge", name, unit).set(value, _instruments.labels.of(name, attributes))


def outgoing() -> dict[str, str]:
    """Headers that carry trace and correlation id to another service; none where not `on`.

    W3C trace context alone: baggage, which callers fill, stays here.
    """
    if SDK not in sys.modules:
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
