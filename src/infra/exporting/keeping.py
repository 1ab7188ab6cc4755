"""Which traces are exported: a share of them, by their id; and all with an error, and all slow ones.

The share is decided at the head, so that services along the way decide alike and a trace is whole. Whether it is slow
or fails is known at its end: spans of traces outside the share are recorded too, held until the request that began
here is over, and then exported or forgotten. What is held is bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags, get_current_span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

MAX_TRACES = 1000
"""Held at once, outside the share; the oldest is forgotten."""
MAX_SPANS = 256
"""Held of each; further ones are forgotten."""


_TAKEN, _HELD = Decision.RECORD_AND_SAMPLE, Decision.RECORD_ONLY


class HeadSampler(Sampler):
    """Follows the caller's decision where there is one, else takes a share of the traces; the rest is recorded as well, for `Keeping`."""

    def __init__(self, ratio: float) -> None:
        self._bound = TraceIdRatioBased.get_bound_for_rate(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        before = get_current_span(parent_context).get_span_context()
        parent = before if before.is_valid else None
        taken = _TAKEN if self.takes(parent, trace_id) else _HELD
        return SamplingResult(taken, attributes, trace_state if parent is None else parent.trace_state)

    def takes(self, parent: SpanContext | None, trace_id: int) -> bool:
        """Whether a span below ``parent``, or a trace that begins here, is exported in any case."""
        if parent is not None:
            return bool(parent.trace_flags & TraceFlags.SAMPLED)
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound

    def get_description(self) -> str:
        return "a share by trace id, errors and slow ones"


class _Held:
    __slots__ = ("failed", "spans")

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.failed = False


class Keeping(SpanProcessor):
    """Hands spans on for export: those of the share at once, those of other traces when the trace proves worth it.

    Args:
        then: what exports.
        slow_ms: of a request that began in this process, from which on it is slow.
    """

    def __init__(self, then: SpanProcessor, slow_ms: float) -> None:
        self._then = then
        self._slow_ns = slow_ms * 1e6
        self._lock = threading.Lock()
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._kept: OrderedDict[int, None] = OrderedDict()
        """Traces that were exported for their worth: what ends after their request goes along."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: what exports asks for the ends alone."""

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None:
            return
        if context.trace_flags & TraceFlags.SAMPLED:
            self._then.on_end(span)
            return
        for found in self._worth(context.trace_id, span):
            self._then.on_end(_sampled(found))

    def shutdown(self) -> None:
        self._then.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._then.force_flush(timeout_millis)

    @property
    def held(self) -> int:
        """Traces whose end is awaited."""
        return len(self._held)

    def _worth(self, trace_id: int, span: ReadableSpan) -> Sequence[ReadableSpan]:
        with self._lock:
            if trace_id in self._kept:
                return (span,)
            held = self._held.setdefault(trace_id, _Held())
            if len(held.spans) < MAX_SPANS or _begins_here(span):
                held.spans.append(span)
            held.failed = held.failed or span.status.status_code is StatusCode.ERROR
            if not _begins_here(span):
                if len(self._held) > MAX_TRACES:
                    self._held.popitem(last=False)
                return ()
            del self._held[trace_id]
            if not (held.failed or (span.end_time or 0) - (span.start_time or 0) >= self._slow_ns):
                return ()
            self._kept[trace_id] = None
            if len(self._kept) > MAX_TRACES:
                self._kept.popitem(last=False)
            return held.spans


def _begins_here(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _sampled(span: ReadableSpan) -> ReadableSpan:
    """The same span, marked as one to export."""
    context = span.context
    assert context is not None
    marked = SpanContext(context.trace_id, context.span_id, context.is_remote, TraceFlags(context.trace_flags | TraceFlags.SAMPLED), context.trace_state)
    return ReadableSpan(
        name=span.name,
        context=marked,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
