"""Errors as OpenAI's clients read them. Pure: `problems.respond` asks here whether a path is one of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ... import errors

PREFIXES = ("/v1/chat/completions", "/v1/models", "/v1/embeddings")
_CODES = {"unauthenticated": "invalid_api_key", "content-filtered": "content_filter", "deadline": "timeout"}
_STATUS = {422: 400}
"""OpenAI answers 400 where a field is wrong, and where its content filter refused."""


class ParameterError(errors.InputError):
    """A parameter that cannot be used, and its name."""

    code = "unsupported-parameter"

    def __init__(self, message: str, *, param: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.param = param


class ModelUnknownError(errors.NotFoundError):
    """No model of this server has that name."""

    code = "model-not-found"
    param = "model"


def is_openai_path(path: str) -> bool:
    """Whether requests to a path are answered in OpenAI's shapes."""
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in PREFIXES)


def error_of(problem: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body of a problem document in OpenAI's shape."""
    status = int(problem["status"])
    code = str(problem["code"])
    text = " ".join(part for part in (str(problem.get("detail", "")), str(problem.get("hint", ""))) if part)
    body = {
        "message": text or str(problem["title"]),
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "param": problem.get("param") or _first_field(problem),
        "code": _CODES.get(code, code.replace("-", "_")),
        "correlation_id": problem.get("correlation_id"),
    }
    return _STATUS.get(status, status), {"error": body}


def _first_field(problem: Mapping[str, Any]) -> str | None:
    """`messages.0.role` of the first field that is wrong."""
    entries = problem.get("errors") or [{}]
    pointer = str(entries[0].get("pointer", ""))
    return pointer.removeprefix("#/").replace("/", ".") or None if pointer != "#" else None
