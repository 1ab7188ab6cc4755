"""Spans of this package as OTel's API wants them, with as little as possible done while they run; the SDK's come of them later.

A span of the SDK costs a request 40 µs, these 12: attributes are checked and copied, and locks and lists made, by `Later`.
Trace ids, flags and which traces are taken are decided as the SDK decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from random import getrandbits
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer, get_current_span, use_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link
    from opentelemetry.util.types import Attributes

    from .keeping import HeadSampler

MOST_EVENTS = 32
_UNSET = Status(StatusCode.UNSET)
_RANDOM = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_TAKEN = TraceFlags(TraceFlags.RANDOM_TRACE_ID | TraceFlags.SAMPLED)


class LightSpan(Span):
    """A span that runs."""

    __slots__ = ("attributes", "begun", "context", "ended", "events", "kind", "name", "parent", "status", "then")

    def __init__(
        self, name: str, context: SpanContext, parent: SpanContext | None, kind: SpanKind, attributes: Attributes, begun: int, then: Callable[[LightSpan], None]
    ) -> None:
        self.name, self.context, self.parent, self.kind, self.begun, self.then = name, context, parent, kind, begun, then
        self.attributes: dict[str, Any] = dict(attributes) if attributes else {}
        self.events: list[tuple[str, Attributes, int]] = []
        self.status = _UNSET
        self.ended = 0

    def end(self, end_time: int | None = None) -> None:
        if not self.ended:
            self.ended = end_time or time_ns()
            self.then(self)

    def get_span_context(self) -> SpanContext:
        return self.context

    def is_recording(self) -> bool:
        return not self.ended

    def set_attribute(self, key: str, value: Any) -> None:
        if not self.ended:
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        if not self.ended:
            self.attributes.update(attributes)

    def update_name(self, name: str) -> None:
        if not self.ended:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if not self.ended:
            self.status = status if isinstance(status, Status) else Status(status, description)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if not self.ended and len(self.events) < MOST_EVENTS:
            self.events.append((name, attributes, timestamp or time_ns()))

    def record_exception(self, exception: BaseException, attributes: Attributes = None, timestamp: int | None = None, escaped: bool = False) -> None:
        """Its class alone: what it says may be anything."""
        self.add_event("exception", {**(attributes or {}), "exception.type": type(exception).__qualname__}, timestamp)


class LightTracer(Tracer):
    """Makes them.

    Args:
        put: takes what is done later, such as `Later.put`.
        most: attributes of a span, and ``longest`` the characters of one.
    """

    def __init__(
        self,
        sampler: HeadSampler,
        processor: SpanProcessor,
        put: Callable[..., None],
        resource: Resource,
        scope: InstrumentationScope,
        *,
        most: int,
        longest: int,
    ) -> None:
        self._sampler, self._processor, self._put, self._resource, self._scope = sampler, processor, put, resource, scope
        self._most, self._longest = most, longest

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        before = get_current_span(context).get_span_context()
        parent = before if before.is_valid else None
        trace_id = parent.trace_id if parent is not None else getrandbits(128) or 1
        flags = _TAKEN if self._sampler.takes(parent, trace_id) else _RANDOM
        if parent is not None and not parent.trace_flags & TraceFlags.RANDOM_TRACE_ID:
            flags = TraceFlags(flags & TraceFlags.SAMPLED)
        own = SpanContext(trace_id, getrandbits(64) or 1, is_remote=False, trace_flags=flags, trace_state=parent.trace_state if parent is not None else None)
        return LightSpan(name, own, parent, kind, attributes, start_time or time_ns(), self._ended)

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, end_on_exit: bool = True, **kwargs: Any) -> Iterator[Span]:  # type: ignore[override]  # as the API's own
        span = self.start_span(name, *args, **kwargs)
        with use_span(span, end_on_exit=end_on_exit, set_status_on_exception=False):
            try:
                yield span
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__qualname__)
                raise

    def _ended(self, span: LightSpan) -> None:
        self._put(self._hand_on, span)

    def _hand_on(self, span: LightSpan) -> None:
        self._processor.on_end(
            ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=self._resource,
                attributes=self._bounded(span.attributes),
                events=[Event(name, self._bounded(attributes), timestamp) for name, attributes, timestamp in span.events],
                kind=span.kind,
                status=span.status,
                start_time=span.begun,
                end_time=span.ended,
                instrumentation_scope=self._scope,
            )
        )

    def _bounded(self, attributes: Attributes) -> Attributes:
        return BoundedAttributes(self._most, attributes, immutable=True, max_value_len=self._longest) if attributes else None
