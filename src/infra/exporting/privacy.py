"""Spans of other libraries without what may be content: what they say of prompts, answers, queries and exceptions; or with it, redacted. Pure.

Our own spans hold none to begin with. Names and figures of others' stay; their texts in OTel's, OpenInference's and
OpenLLMetry's names do not, nor does what an exception said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status

from ...telemetry.metrics import SCOPE
from ...telemetry.redaction import redact, redact_value

_CONTENT = re.compile(
    r"gen_ai\.(input|output|system_instructions|prompt|completion|tool\.(call\.(arguments|result)|definitions)|retrieval\.(query\.text|documents)|evaluation\.explanation)\b.*"
    r"|(input|output)\.(value|messages).*|llm\.(input_messages|output_messages|prompts|completions|prompt_template|invocation_parameters)\b.*"
    r"|(retrieval|reranker|document|embedding|message|traceloop\.entity\.(input|output))\b.*"
    r"|db\.(statement|query\.(text|summary|parameter\b.*)|operation\.parameter\b.*)"
    r"|url\.(query|fragment|full|path)|http\.(url|target|(request|response)\.(body|header)\b.*)"
    r"|exception\.(message|stacktrace)|error\.message"
)


def without_content(span: ReadableSpan) -> ReadableSpan:
    """The span, or a copy of it without what may be content."""
    if span.instrumentation_scope is not None and span.instrumentation_scope.name == SCOPE:
        return span
    return _copied(span, _plain, span.name, Status(span.status.status_code))


def _copied(span: ReadableSpan, changed: Callable[[Mapping[str, Any] | None], dict[str, Any]], name: str, status: Status) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=changed(span.attributes),
        events=[Event(event.name, changed(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def with_redacted_content(span: ReadableSpan) -> ReadableSpan:
    """A copy of the span whose texts are redacted, for where content is kept in traces. Our own are redacted before they are set."""
    if span.instrumentation_scope is not None and span.instrumentation_scope.name == SCOPE:
        return span
    return _copied(span, _redacted, redact(span.name), Status(span.status.status_code, span.status.description and redact(span.status.description)))


def _redacted(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: _redacted_value(value, name) for name, value in (attributes or {}).items()}


def _redacted_value(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return redact_value(value, name)
    # An attribute keeps its type: numbers are no texts here.
    return [_redacted_value(item, name) for item in value] if isinstance(value, list | tuple) else value


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (attributes or {}).items() if not _CONTENT.fullmatch(name)}
