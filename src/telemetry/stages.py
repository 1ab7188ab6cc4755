"""Stages of RAG, timed: one line at the call site, ``with stage("embed"):``.

Each stage is a span of the OpenTelemetry API (which does nothing until an SDK is set up) and a figure in the timings
of the request that runs it. The API package is imported only once somebody else imported it, so that a process without
telemetry never pays for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

_timings: ContextVar[dict[str, float] | None] = ContextVar("rag_timings", default=None)


@contextmanager
def collect_timings() -> Iterator[dict[str, float]]:
    """Collect the stages that run inside: ``{stage: milliseconds}``, repeats added up."""
    timings: dict[str, float] = {}
    token = _timings.set(timings)
    try:
        yield timings
    finally:
        _timings.reset(token)


def record_timing(name: str, milliseconds: float) -> None:
    """Add a figure to the timings of the request that is running, if one is."""
    timings = _timings.get()
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + milliseconds


class stage:  # noqa: N801 - reads as a statement at the call site
    """Time a stage and make it a span; attributes are kept to numbers and short words, never content."""

    __slots__ = ("_attributes", "_name", "_span", "_start")

    def __init__(self, name: str, **attributes: str | int | float | bool) -> None:
        self._name = name
        self._attributes = attributes
        self._start = 0.0
        self._span: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> stage:
        self._span = _span(self._name, self._attributes)
        self._span.__enter__()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exc: Any) -> None:
        record_timing(self._name, (time.perf_counter() - self._start) * 1000)
        if exc[0] is not None and not isinstance(self._span, nullcontext):
            _mark_failed(exc[0])
        self._span.__exit__(*exc)


def _span(name: str, attributes: dict[str, str | int | float | bool]) -> AbstractContextManager[Any]:
    if "opentelemetry.sdk.trace" not in sys.modules:
        return nullcontext()
    from opentelemetry import trace

    # The exception's text may hold content, or what a foreign library repeats of a request; its type is enough for a span.
    return trace.get_tracer("founders-rag").start_as_current_span(
        f"rag.{name}", attributes={f"rag.{key}": value for key, value in attributes.items()}, record_exception=False, set_status_on_exception=False
    )


def _mark_failed(kind: type[BaseException]) -> None:
    from opentelemetry import trace

    trace.get_current_span().set_status(trace.Status(trace.StatusCode.ERROR, kind.__name__))
