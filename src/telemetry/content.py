"""What people ask and models answer, redacted, where `[telemetry] capture_content` keeps it; nowhere unless it is on.

Two places, of which one is chosen: a file of its own (`turn` and `model call`, a JSON line each), or attributes of spans in the
names of OTel's conventions for generative AI, ``gen_ai.input.messages`` and ``gen_ai.output.messages``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from . import otel
from .logger import get_logger

Place = Literal["", "file", "traces"]

LOGGER = "src.conversation"
"""Whoever sets it up gives it a handler, and lets nothing of it through to others."""
MAX_MESSAGES = 32_768
"""Characters of an attribute; the oldest messages are left out."""

_stream = get_logger(LOGGER)
_place: Place = ""


def capture_to(place: Place) -> None:
    """Keep content there from now on; empty keeps none."""
    global _place  # noqa: PLW0603 - one place a process
    _place = place


def capturing() -> bool:
    """Whether content is kept at all."""
    return _place != ""


def capture(kind: str, asked: object, answered: str, span: Any = None, **facts: Any) -> None:
    """Keep an exchange, where content is kept.

    Args:
        kind: ``turn`` or ``model call``.
        asked: a text, or messages with ``role`` and ``content``.
        span: OTel's span that it belongs to; left out, the running one.
        facts: ids and names that say which exchange it is.
    """
    if not _place:
        return
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else [_message(each) for each in _listed(asked)]
    if _place == "file":
        _stream.info(kind, **facts, input=messages, output=answered)
    elif otel.on():
        from opentelemetry.trace import get_current_span

        target = get_current_span() if span is None else span
        target.set_attributes(
            {"gen_ai.input.messages": _as_attribute(messages), "gen_ai.output.messages": _as_attribute([{"role": "assistant", "content": answered}])}
        )


def _listed(asked: object) -> Sequence[object]:
    return asked if isinstance(asked, Sequence) else ()


def _message(given: object) -> dict[str, str]:
    role, content = (given.get("role"), given.get("content")) if isinstance(given, Mapping) else (getattr(given, "role", ""), getattr(given, "content", ""))
    return {"role": str(role or ""), "content": content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)}


def _as_attribute(messages: Sequence[Mapping[str, str]]) -> str:
    """Messages as the conventions write them, in JSON; the newest, as far as there is room."""
    from .redaction import redact_part

    parts = [json.dumps({"role": each["role"], "parts": [{"type": "text", "content": redact_part(each["content"])}]}) for each in messages]
    while len(parts) > 1 and sum(map(len, parts)) + 2 * len(parts) > MAX_MESSAGES:
        parts.pop(0)
    return f"[{', '.join(parts)}]"
