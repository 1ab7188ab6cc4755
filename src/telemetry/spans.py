"""A span around something that runs: current within it, ended with the kind of its failure and never its text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import otel
from .attributes import bounded

if TYPE_CHECKING:
    from opentelemetry.context import Context

CANCELLED = (asyncio.CancelledError, GeneratorExit)
"""Ends that are nobody's failure: a caller who goes away, a reader who has enough."""


def error_type(kind: type[BaseException], error: BaseException | None) -> str:
    """The code of an error of ours, the name of any other's class. Its text may hold content, or what a foreign library repeats of a request."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and kind.__module__.startswith("src.") else kind.__qualname__


def failure(kind: type[BaseException] | None, error: BaseException | None) -> str:
    """What ended something, as `error_type` names it; empty for a good end, and for one that is nobody's failure."""
    return "" if kind is None or issubclass(kind, CANCELLED) else error_type(kind, error)


class NoSpan:
    """In place of a span where there is nobody to take one, while figures are recorded."""

    __slots__ = ()
    native: Any = None

    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def set(self, **attributes: object) -> None: ...
    def add(self, attributes: Mapping[str, object]) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, kind: str) -> None: ...
    def end(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *, end_ns: int | None = None) -> str:
        return failure(kind, error)


NO_SPAN = NoSpan()


class RunningSpan:
    """A span that has begun. Only where `otel.on`.

    Args:
        kind: name of OTel's kind, such as ``CLIENT``.
        parent: context of the caller; left out, the running one.
        current: whether what runs in this context belongs to it from now on; off for generators, which `enter` and `leave` around each step.
    """

    __slots__ = ("_before", "_span")

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, object],
        *,
        kind: str = "INTERNAL",
        parent: Context | None = None,
        current: bool = True,
        start_ns: int | None = None,
    ) -> None:
        from opentelemetry.trace import SpanKind

        self._span = otel.tracer().start_span(
            name, parent, SpanKind[kind], bounded(attributes), start_time=start_ns, record_exception=False, set_status_on_exception=False
        )
        self._before: Context | None = None
        if current:
            self.enter()

    def enter(self) -> None:
        """What runs in this context belongs to the span from now on."""
        from opentelemetry import context, trace

        self._before = context.get_current()
        context.attach(trace.set_span_in_context(self._span, self._before))

    def leave(self) -> None:
        """What runs in this context belongs to what it belonged to before.

        The context of before is laid over and not reset to: a generator may be closed in another context than it began in.
        """
        from opentelemetry import context, trace

        if self._before is not None and trace.get_current_span() is self._span:
            context.attach(self._before)
        self._before = None

    def set(self, **attributes: object) -> None:
        """Add attributes; in their names ``__`` is a dot."""
        self.add({name.replace("__", "."): value for name, value in attributes.items()})

    def add(self, attributes: Mapping[str, object]) -> None:
        self._span.set_attributes(bounded(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *, end_ns: int | None = None) -> str:
        """End it; what it failed with, empty where it did not."""
        self.leave()
        failed = failure(kind, error)
        if failed:
            self.fail(failed)
        elif kind is not None:
            self._span.set_attributes({"rag.cancelled": True})
        self._span.end(end_ns) if end_ns is not None else self._span.end()
        return failed

    def fail(self, kind: str) -> None:
        """Mark it as failed."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, kind))
        self._span.set_attributes({"error.type": kind})

    @property
    def native(self) -> Any:
        """OTel's own."""
        return self._span
