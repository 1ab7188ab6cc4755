"""Spans of other libraries without what may be content: what they say of prompts, answers, queries and exceptions. Pure.

Our own spans hold none to begin with. Names and figures of others' stay; their texts in OTel's, OpenInference's and
OpenLLMetry's names do not, nor does what an exception said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status

from ...telemetry.metrics import SCOPE

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
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_plain(span.attributes),
        events=[Event(event.name, _plain(event.attributes), event.timestamp) for event in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (attributes or {}).items() if not _CONTENT.fullmatch(name)}
