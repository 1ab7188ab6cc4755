"""What the tools take. The schemas that clients see are made from these classes."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ...agent.runtime import MAX_MESSAGE_CHARS
from ...core.search import Mode
from ...errors import InputError

MAX_QUERY_CHARS = 8_000
MAX_TOP_K = 100
"""Passages of one search: a model reads them all."""

Filters = Annotated[
    dict[str, Any],
    Field(
        description="Only documents where these fields hold: {field: value | [values] | {gt, gte, lt, lte} | {exists: bool}}, joined by AND.",
        examples=[{"content_type": "application/pdf", "page": {"gte": 2, "lt": 9}}],
    ),
]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchArguments(Arguments):
    """Find passages in the company's documents."""

    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)] = Field(description="What to look for.")
    mode: Mode | None = Field(None, description="bm25: by words, knn: by meaning, hybrid: both. Leave it out unless asked for.")
    top_k: Annotated[int, Field(strict=True, ge=1, le=MAX_TOP_K)] | None = Field(None, description="Passages; leave it out for the usual number.")
    filters: Filters = Field(default_factory=dict)
    cursor: Annotated[str, Field(max_length=10_000)] | None = Field(None, description="next_cursor of the page before.")


class AskArguments(Arguments):
    """Ask a question and get an answer from the company's documents, each sentence with its citation."""

    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MESSAGE_CHARS)] = Field(description="The question.")
    thread_id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="thread_id of an earlier answer, to follow up on it; without it a new conversation begins."
    )
    mode: Mode | None = Field(None, description="bm25: by words, knn: by meaning, hybrid: both. Leave it out unless asked for.")
    filters: Filters = Field(default_factory=dict)


class FetchArguments(Arguments):
    """Read a document, or go on reading from a passage that was found."""

    document_id: Annotated[str, Field(min_length=1, max_length=4_000)] = Field(description="The document_id of a passage that was found.")
    chunk_id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(None, description="Begin at this passage.")
    start: Annotated[int, Field(strict=True, ge=0)] = Field(0, description="Begin at this passage number; next_start of the part before.")


A = TypeVar("A", bound=Arguments)


def read(kind: type[A], given: Mapping[str, Any] | None) -> A:
    """The arguments of one call.

    Raises:
        InputError: names each that is wrong, and the nearest known one; values are not repeated.
    """
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise InputError(" ".join(_sentence(kind, problem) for problem in found[:5]), hint=f"Arguments: {', '.join(kind.model_fields)}.") from None


def _sentence(kind: type[Arguments], problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])[:80]
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']}."
    near = get_close_matches(name, kind.model_fields, 1)
    return f"{name!a} is no argument here." + (f" Did you mean {near[0]!r}?" if near else "")


def schema(kind: type[Arguments]) -> dict[str, Any]:
    """Its JSON schema."""
    return kind.model_json_schema()
