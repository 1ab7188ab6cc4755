"""Bodies and answers of the API. Fields may be added, never renamed."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from ..agent.runtime import MAX_MESSAGE_CHARS
from ..core.chat import Answer, ThreadSummary, Turn
from ..core.documents import Chunk, Document
from ..core.feedback import Feedback
from ..core.search import Mode, SearchResult
from ..infra.persistence.threads import ThreadExport
from .problems import nearest

MAX_QUERY_CHARS = 8_000


class Body(BaseModel):
    """A request body: unknown fields are errors that name the nearest known one; text must be Unicode, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = [name for name in data if name not in cls.model_fields]
        if unknown:
            names = "; ".join(f"{str(name)[:80]!a} is not a field here.{nearest(str(name), cls.model_fields)}" for name in unknown[:5])
            raise PydanticCustomError("unknown_field", "{names}", {"names": names})
        try:
            json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
        except (UnicodeEncodeError, ValueError, RecursionError):
            raise PydanticCustomError("not_plain", "it holds text that is not Unicode, a number that is not finite, or too deep a nesting") from None
        return data


Filters = Annotated[
    dict[str, Any],
    Field(
        description="`{field: value | [values] | {gt, gte, lt, lte} | {exists: bool}}`, joined by AND.",
        examples=[{"content_type": "application/pdf", "page": {"gte": 2, "lt": 9}}],
    ),
]
"""Read by `retrieval.filters.parse_filters`, whose errors name the field and what is allowed."""


class ChatBody(Body):
    """`POST /v1/chat`"""

    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_MESSAGE_CHARS)]
    thread_id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(None, description="Goes on with this thread; without it a new one begins.")
    replaces: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The `message_id` of a turn of the thread; it and those after it give way once this one is answered."
    )
    stream: Annotated[bool, Field(strict=True)] = Field(False, description="Answer as server-sent events.")
    mode: Mode | None = None
    filters: Filters = Field(default_factory=dict)


class RenameBody(Body):
    """`PATCH /v1/threads/{id}`"""

    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class ForkBody(Body):
    """`POST /v1/threads/{id}/fork`"""

    message_id: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(None, description="The last turn that the new thread has; without it all.")


class FeedbackBody(Body):
    """`PUT /v1/threads/{id}/messages/{message_id}/feedback`"""

    rating: Literal["up", "down"]
    comment: Annotated[str, Field(max_length=4000)] = ""


class FeedbackPostBody(FeedbackBody):
    """`POST /v1/feedback`"""

    thread_id: Annotated[str, Field(min_length=1, max_length=200)]
    message_id: Annotated[str, Field(min_length=1, max_length=200)]


class SearchBody(Body):
    """`POST /v1/search`"""

    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
    mode: Mode | None = None
    top_k: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    filters: Filters = Field(default_factory=dict)
    cursor: Annotated[str, Field(max_length=10_000)] | None = Field(None, description="`next_cursor` of the page before.")


class Out(BaseModel):
    """An answer, made from the dataclass of the same fields."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class CitationOut(Out):
    n: int
    chunk_id: str
    document_id: str
    title: str
    source: str
    page: int | None = None
    section: str = ""
    quote: str
    score: float


class UsageOut(Out):
    input_tokens: int = 0
    output_tokens: int = 0


class ContextOut(Out):
    """What of the conversation, and of what was found, the model was shown; figures are tokens or turns, as their names say."""

    strategy: str
    exact: bool
    budget: int
    tokens: int
    kept_turns: int
    summarised_turns: int
    dropped_turns: int
    summary_tokens: int
    dropped_passages: int


class ApprovalCallOut(Out):
    tool: str
    arguments: str = Field(description="As the model wrote them.")


class ApprovalOut(Out):
    """Tool calls that wait for a decision of the thread's owner."""

    approval_id: str
    thread_id: str
    created_at: str
    question: str
    calls: tuple[ApprovalCallOut, ...]


class AnswerOut(Out):
    """What `POST /v1/chat` answers, and what the stream's ``done`` holds."""

    thread_id: str
    message_id: str
    answer: str
    citations: tuple[CitationOut, ...] = ()
    refused: bool = False
    clarifying: bool = False
    degraded: tuple[str, ...] = ()
    usage: UsageOut = UsageOut()
    timings_ms: dict[str, float] = Field(default_factory=dict)
    context: ContextOut | None = None
    approval: ApprovalOut | None = Field(None, description="Set where the turn waits for a decision about tool calls; there is no answer yet.")

    @classmethod
    def of(cls, answer: Answer) -> Self:
        return cls.model_validate(answer)


class TurnOut(Out):
    message_id: str
    question: str
    answer: str
    citations: tuple[CitationOut, ...]
    refused: bool
    degraded: tuple[str, ...]
    created_at: str
    clarifying: bool = False


class FeedbackOut(Out):
    message_id: str
    rating: Literal["up", "down"]
    comment: str
    given_at: str


class FeedbackListOut(Out):
    feedback: tuple[FeedbackOut, ...]

    @classmethod
    def of(cls, feedback: list[Feedback]) -> Self:
        return cls(feedback=tuple(FeedbackOut.model_validate(one) for one in feedback))


class HistoryOut(Out):
    thread_id: str
    turns: tuple[TurnOut, ...]

    @classmethod
    def of(cls, thread_id: str, turns: tuple[Turn, ...]) -> Self:
        return cls(thread_id=thread_id, turns=tuple(TurnOut.model_validate(turn) for turn in turns))


class ThreadOut(Out):
    thread_id: str
    title: str
    created_at: str
    updated_at: str
    turns: int

    @classmethod
    def of(cls, thread: ThreadSummary) -> Self:
        return cls.model_validate(thread)


class ThreadExportOut(ThreadOut):
    """`GET /v1/threads/{id}/export`"""

    history: tuple[TurnOut, ...]

    @classmethod
    def of_export(cls, export: ThreadExport) -> Self:
        turns = tuple(TurnOut.model_validate(turn) for turn in export.turns)
        return cls(**ThreadOut.of(export.thread).model_dump(), history=turns)


class ThreadsOut(Out):
    threads: tuple[ThreadOut, ...]
    next_cursor: str | None = None


class RerankOut(Out):
    """What a reranker made of a hit."""

    score: float
    fused: float = Field(description="The hit's score in the search.")
    place: int = Field(description="Where the search had it, from 1.")


class HitOut(Out):
    chunk_id: str
    document_id: str
    title: str
    text: str
    source: str
    page: int | None = None
    section: str = ""
    score: float
    legs: dict[str, float]
    rerank: RerankOut | None = None


class IntentOut(Out):
    """The `[intent:NAME]` that the question fell under, and what it changed."""

    name: str
    matched: str = Field(description="The pattern or example that fitted.")
    fit: float
    mode: Mode | None = Field(None, description="Set where the rule chose the mode.")
    filters: tuple[str, ...] = ()
    boosts: tuple[str, ...] = ()
    boosted: int = Field(0, description="Hits of this page that a boost fits.")


class SearchOut(Out):
    hits: tuple[HitOut, ...]
    mode: Mode
    degraded: tuple[str, ...] = ()
    took_ms: float
    next_cursor: str | None = None
    intent: IntentOut | None = None

    @classmethod
    def of(cls, result: SearchResult) -> Self:
        return cls.model_validate(result)


class DocumentOut(Out):
    """A document as lists show it. ``own`` says whether the caller may replace and delete it."""

    document_id: str
    title: str
    source: str
    content_type: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    own: bool

    @classmethod
    def of(cls, document: Document, *, own: bool) -> Self:
        fields = {field.name: getattr(document, field.name) for field in dataclasses.fields(document)}
        return cls.model_validate({**fields, "document_id": document.id, "own": own})


class DocumentsOut(Out):
    documents: tuple[DocumentOut, ...]
    next_cursor: str | None = None


class UploadedOut(Out):
    """What became of one file: ``added``, ``updated``, ``unchanged``, or ``failed`` with its reason."""

    name: str
    document_id: str
    status: str
    chunks: int = 0
    reason: str | None = None
    message: str | None = None


class UploadOut(Out):
    documents: tuple[UploadedOut, ...]


class DeletedOut(Out):
    deleted: int


class PassageOut(Out):
    chunk_id: str
    position: int
    page: int | None = None
    section: str = ""
    text: str

    @classmethod
    def of(cls, chunk: Chunk) -> Self:
        return cls(chunk_id=chunk.id, position=chunk.position, page=chunk.page, section=chunk.section, text=chunk.text)


class PassagesOut(Out):
    """One passage amid its page: the passages of the same page, or of its surroundings where the format has no pages."""

    document: DocumentOut
    chunk_id: str
    page: int | None = None
    section: str = ""
    position: int
    total: int
    passages: tuple[PassageOut, ...]
    previous: str | None = None
    next: str | None = None


class ComponentOut(Out):
    status: str
    latency_ms: float
    required: bool
    checked_at: str | None = Field(None, description="When it was looked at last, ISO 8601 in UTC.")
    since: str | None = Field(None, description="Since when it has been in this status.")
    message: str | None = None


class HealthOut(Out):
    status: str
    components: dict[str, ComponentOut] | None = None
