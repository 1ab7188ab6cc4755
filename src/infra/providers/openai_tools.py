"""Messages and tool calls on OpenAI's wire: what a model is offered, and the pieces in which its calls arrive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...core.chat import Message, ToolCall, ToolSpec
from .openai_shapes import part, text_part, whole
from .tokenizer import encodable

WITHOUT_TOOLS = "the model's service takes no tools: answered without them"


def tools_payload(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """The request's ``tools``."""
    return [{"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}} for tool in tools]


def message_payload(message: Message) -> dict[str, Any]:
    """One message of the request."""
    body: dict[str, Any] = {"role": message.role, "content": encodable(message.content)}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": _name(call.name), "arguments": _arguments(call.arguments)}} for call in message.tool_calls
        ]
    if message.role == "tool":
        body["tool_call_id"] = message.tool_call_id
    return body


def _name(name: str) -> str:
    """A call's name as it may go back: services refuse the whole request for a name that could not be a function's."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "_"


def _arguments(text: str) -> str:
    """Likewise its arguments: some servers parse them, and fail where a model wrote no JSON object."""
    try:
        return encodable(text) if isinstance(json.loads(text), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"


class CallPieces:
    """Calls arrive in pieces: the first of each has its id and name, the others more of its arguments."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}

    def feed(self, pieces: Iterable[Any] | None) -> None:
        """Take in what one chunk of the stream holds. Some servers number nothing and send each call whole."""
        for piece in pieces or ():
            index = whole(part(piece, "index"))
            call = self._calls.setdefault(len(self._calls) if index is None else index, ["", "", ""])
            call[0] = call[0] or text_part(piece, "id")
            if (function := part(piece, "function")) is not None:
                call[1] += text_part(function, "name")
                call[2] += text_part(function, "arguments")

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls, in the model's order; one without an id gets one, since its answer has to name it."""
        return tuple(ToolCall(call[0] or f"call_{index}", call[1], call[2]) for index, call in sorted(self._calls.items()))
