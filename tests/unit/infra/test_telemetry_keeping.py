from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from src.infra.exporting.keeping import MAX_SPANS, MAX_TRACES, HeadSampler, Keeping


class Exported(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        assert span.context.trace_flags.sampled, "the exporter leaves out what is not marked"
        self.spans.append(span)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def traced(ratio: float, slow_ms: float = 1e9) -> tuple[TracerProvider, Keeping, Exported]:
    provider, exported = TracerProvider(HeadSampler(ratio), shutdown_on_exit=False), Exported()
    keeping = Keeping(exported, slow_ms)
    provider.add_span_processor(keeping)
    return provider, keeping, exported


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_share_decides_by_the_trace_alone_and_a_larger_one_holds_a_smaller(trace_id: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    taken = [HeadSampler(ratio).should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE for ratio in (less, more)]
    assert taken[0] <= taken[1]
    assert HeadSampler(1.0).should_sample(None, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
    assert HeadSampler(0.0).should_sample(None, trace_id, "x").decision is Decision.RECORD_ONLY


@pytest.mark.parametrize(("flags", "expected"), [(TraceFlags.SAMPLED, Decision.RECORD_AND_SAMPLE), (TraceFlags.DEFAULT, Decision.RECORD_ONLY)])
def test_the_caller_s_decision_is_followed(flags: int, expected: Decision) -> None:
    caller = set_span_in_context(NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(flags))))
    for ratio in (0.0, 1.0):
        assert HeadSampler(ratio).should_sample(caller, 7, "x").decision is expected


def test_what_is_held_of_traces_that_do_not_end_is_bounded() -> None:
    provider, keeping, exported = traced(0.0)
    tracer = provider.get_tracer("t")
    for _ in range(MAX_TRACES + 50):
        with tracer.start_as_current_span("root", context=None), tracer.start_as_current_span("part"):
            pass
    assert (keeping.held, exported.spans) == (0, [])
    for number in range(1, MAX_TRACES + 50):
        parent = set_span_in_context(NonRecordingSpan(SpanContext(number, 1, is_remote=False)))
        tracer.start_span("part of a request that never ends", parent).end()
    assert keeping.held == MAX_TRACES


def test_of_a_kept_trace_its_request_and_so_many_spans_are_exported_and_what_ends_later_too() -> None:
    provider, _, exported = traced(0.0)
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("root") as root:
        late = tracer.start_span("late")
        for _ in range(MAX_SPANS + 10):
            tracer.start_span("part").end()
        root.set_status(Status(StatusCode.ERROR))
    assert len(exported.spans) == MAX_SPANS + 1
    assert exported.spans[-1].name == "root"
    late.end()
    assert exported.spans[-1].name == "late"
