"""Messages, citations and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .search import Filter, Mode

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it; ``parameters`` is the JSON Schema of its arguments, an object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to have a tool run; ``arguments`` is what it wrote: JSON if it kept to the form."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt. An assistant's may call tools; one of the role ``tool`` answers the call ``tool_call_id``."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; zero for local models."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True, slots=True)
class Citation:
    """One numbered reference of an answer. ``quote`` stands verbatim in the cited chunk."""

    n: int
    chunk_id: str
    document_id: str
    title: str
    source: str
    quote: str
    score: float
    page: int | None = None
    section: str = ""


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What of the conversation, and of what was found, the model was shown; figures are tokens where they say so.

    Attributes:
        strategy: `[agent] history_strategy`.
        exact: whether tokens were counted by the model's own vocabulary; otherwise they are a bound, never too few.
        budget: tokens that earlier turns and their summary were allowed together.
        tokens: what they took.
        kept_turns: earlier turns that stood in the prompt as they are.
        summarised_turns: earlier turns that stood in it by their summary.
        dropped_turns: earlier turns that stood in it in no way.
        summary_tokens: what the summary took of ``tokens``.
        dropped_passages: passages that were found and had no room.
    """

    strategy: str
    exact: bool
    budget: int
    tokens: int = 0
    kept_turns: int = 0
    summarised_turns: int = 0
    dropped_turns: int = 0
    summary_tokens: int = 0
    dropped_passages: int = 0


@dataclass(frozen=True, slots=True)
class ApprovalCall:
    """A tool that a model wants to have run, and its arguments as the model wrote them."""

    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A turn that waits for its owner's decision about ``calls``."""

    approval_id: str
    thread_id: str
    created_at: str
    question: str
    calls: tuple[ApprovalCall, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole response of one turn; the answer's text marks each claim with ``[n]``."""

    thread_id: str
    message_id: str
    answer: str
    citations: tuple[Citation, ...] = ()
    refused: bool = False
    """No answer was given: none was found, or (``clarifying``) the question is asked back."""
    clarifying: bool = False
    degraded: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    context: ContextUse | None = None
    """None where no model was shown anything of the conversation."""
    approval: Approval | None = None
    """Set where the turn waits for a decision: there is no answer yet, and no turn in the thread."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to the agent. Without a ``thread_id`` a new thread begins; ``mode`` and ``filters`` narrow retrieval.

    ``replaces`` is the message_id of a turn of the thread: it and those after it give way once this one is answered.
    With ``history``, the turns before as the caller tells them (none is an empty tuple), there is no thread, and nothing is kept.
    """

    message: str
    thread_id: str | None = None
    mode: Mode | None = None
    filters: tuple[Filter, ...] = ()
    replaces: str | None = None
    history: tuple[Turn, ...] | None = None


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """The next checked sentence of an answer, with its ``[n]`` marks."""

    text: str


@dataclass(frozen=True, slots=True)
class CitationsEvent:
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class DoneEvent:
    answer: Answer


ChatEvent = TokenEvent | CitationsEvent | DoneEvent
"""A stream is any number of tokens, then the citations, then done; an error is raised, not an event."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a thread and its answer, as history shows it. ``created_at`` is ISO 8601, UTC."""

    message_id: str
    question: str
    answer: str
    citations: tuple[Citation, ...]
    refused: bool
    degraded: tuple[str, ...]
    created_at: str
    clarifying: bool = False
    retrieved: tuple[str, ...] = ()
    """Ids of the documents that were found, the best first."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """What answered: the models' names."""


@dataclass(frozen=True, slots=True)
class ThreadSummary:
    thread_id: str
    title: str
    created_at: str
    updated_at: str
    turns: int
