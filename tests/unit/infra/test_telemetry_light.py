"""What is done later, and the spans that are made of it, are what the SDK would have made at once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer, set_span_in_context

from src.infra.exporting.keeping import HeadSampler
from src.infra.exporting.later import Later
from src.infra.exporting.light import LightTracer


class Ended(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: object = None) -> None: ...

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def tracers(ratio: float) -> tuple[tuple[Tracer, Ended], tuple[Tracer, Ended]]:
    """Ours, and the SDK's."""
    resource, sampler, ours, theirs = Resource({"service.name": "t"}), HeadSampler(ratio), Ended(), Ended()
    limits = SpanLimits(max_span_attributes=8, max_span_attribute_length=20, max_events=32)
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(theirs)
    light = LightTracer(sampler, ours, lambda work, *arguments: work(*arguments), resource, InstrumentationScope("t", "", ""), most=8, longest=20)
    return (light, ours), (provider.get_tracer("t"), theirs)


values = st.one_of(st.text(max_size=40), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.lists(st.text(max_size=5), max_size=3))


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), values, max_size=12), st.sampled_from(list(SpanKind)), st.booleans(), st.one_of(st.none(), st.booleans())
)
def test_a_light_span_becomes_the_span_that_the_sdk_would_have_made(attributes: dict[str, object], kind: SpanKind, failed: bool, caller: bool | None) -> None:
    context = None
    if caller is not None:
        flags = TraceFlags(TraceFlags.SAMPLED if caller else TraceFlags.DEFAULT)
        context = set_span_in_context(NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=flags)))
    made = []
    for tracer, ended in tracers(1.0):
        span = tracer.start_span("work", context, kind, attributes, start_time=5)  # type: ignore[arg-type]  # lists are sequences of one kind here
        span.set_attribute("more", 1)
        span.update_name("worked")
        if failed:
            span.set_status(Status(StatusCode.ERROR, "why"))
        span.end(9)
        span.end(10)
        span.set_attribute("late", 1)
        (found,) = ended.spans
        parent = None if found.parent is None else (found.parent.trace_id, found.parent.span_id, found.parent.is_remote)
        times = (found.start_time, found.end_time)
        state = (found.status.status_code, found.status.description, found.context.trace_flags if found.context else None)
        made.append((found.name, found.kind, dict(found.attributes or {}), parent, times, state, found.resource, found.instrumentation_scope))
    assert made[0] == made[1]


def test_of_a_light_span_that_failed_the_class_is_told_and_not_what_it_said() -> None:
    (tracer, ended), _ = tracers(1.0)
    with pytest.raises(ValueError, match="CANARY"), tracer.start_as_current_span("work"):
        raise ValueError("CANARY")
    (found,) = ended.spans
    assert found.status.description == "ValueError"
    assert [dict(event.attributes or {}) for event in found.events] == [{"exception.type": "ValueError"}]


def test_work_is_done_in_its_order_with_a_bound_and_at_the_end() -> None:
    done: list[int] = []
    held = threading.Event()
    later = Later(100)
    later.put(held.wait)
    for number in range(200):
        later.put(done.append, number)
    later.put(held.set)
    held.set()
    later.put(_fails)
    later.flush()
    assert done == list(range(len(done)))
    assert 90 <= len(done) <= 200
    assert later.dropped >= 0
    later.put(done.append, -1)
    later.close()
    assert done[-1] == -1
    later.put(done.append, -2)
    assert done[-1] == -1


def _fails() -> None:
    raise ValueError
