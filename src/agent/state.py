"""What a turn works on. Only finished turns are kept; what a turn reads and makes on its way lives as long as the turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

from langgraph.channels import UntrackedValue

from ..core.chat import ChatRequest, ContextUse, TokenEvent, ToolCall, Turn, Usage
from ..core.identity import Identity
from ..core.retrieval import Context
from ..core.search import Hit
from ..infra.persistence.turns import joined, turns_before
from .context.history import History
from .tools.protocol import Round

Verify = Literal["sentence", "after", "off"]


class Outcome(TypedDict):
    """What the last node hands to the runtime, beside the state that is saved."""

    turn: Turn
    usage: Usage
    turns: int
    context: ContextUse | None


Emit = Callable[[TokenEvent | Outcome], None]
"""Where nodes put what the caller should see at once."""


class AgentState(TypedDict, total=False):
    """The state of the graph.

    ``turns`` is the thread: plain data, saved with every step and written by the last node alone, so that a turn which
    is cut short leaves nothing of itself. ``summary`` tells of its older turns (`context.history.Summary`), each of them finished.
    All other channels are never written to a checkpoint: passages of documents
    stay out of the threads' file, and a new turn begins with none of them.
    """

    turns: Annotated[list[dict[str, Any]], joined]
    summary: dict[str, Any]
    pending: dict[str, Any]
    """A turn that waits for a decision (`approvals.hold`); saved, empty for none. ``decided``: ids of those decided, saved too."""
    decided: list[str]
    denied: Annotated[bool | None, UntrackedValue]
    """Whether the calls that need approval were refused it; None where nobody decided."""
    request: Annotated[ChatRequest, UntrackedValue]
    identity: Annotated[Identity, UntrackedValue]
    message_id: Annotated[str, UntrackedValue]
    started: Annotated[float, UntrackedValue]
    """`time.perf_counter()` when the question came."""
    standalone: Annotated[str, UntrackedValue]
    """The question as it reads without its thread: what is searched for and answered."""
    queries: Annotated[tuple[str, ...], UntrackedValue]
    """The parts of a compound question, each standing alone and searched for by itself; empty for any other."""
    clarify: Annotated[str, UntrackedValue]
    """A word of the question that stands for nothing: it is asked back."""
    history: Annotated[History, UntrackedValue]
    """What the model is told of the conversation."""
    found: Annotated[tuple[tuple[Hit, ...], ...], UntrackedValue]
    """The hits of each of ``queries``."""
    hits: Annotated[tuple[Hit, ...], UntrackedValue]
    retrieved: Annotated[tuple[str, ...], UntrackedValue]
    """Ids of the documents of ``hits``, in a turn that goes on after it waited."""
    context: Annotated[Context, UntrackedValue]
    degraded: Annotated[tuple[str, ...], UntrackedValue]
    refused: Annotated[bool, UntrackedValue]
    sentences: Annotated[tuple[str, ...], UntrackedValue]
    """What the model wrote, cut into sentences, marks as the model set them."""
    answer: Annotated[str, UntrackedValue]
    citations: Annotated[tuple[Any, ...], UntrackedValue]
    usage: Annotated[Usage, UntrackedValue]
    """Of all model calls of the turn so far."""
    thread_id: Annotated[str, UntrackedValue]
    fence: Annotated[str, UntrackedValue]
    """The code around the data of this turn's prompts."""
    calls: Annotated[tuple[ToolCall, ...], UntrackedValue]
    """What the last reply wants to have run, and ``said`` what it wrote beside."""
    said: Annotated[str, UntrackedValue]
    rounds: Annotated[tuple[Round, ...], UntrackedValue]
    steps: Annotated[int, UntrackedValue]
    """Replies whose calls were answered."""
    dropped: Annotated[int, UntrackedValue]
    """Sentences left out so far."""


def earlier_turns(state: AgentState) -> list[dict[str, Any]]:
    """The turns that this one follows: all, or those before the one that it replaces."""
    return turns_before(state.get("turns", []), state["request"].replaces)


def retrieved_of(state: AgentState) -> tuple[str, ...]:
    """Ids of the documents that the search of this turn found, best first."""
    return state.get("retrieved") or tuple(dict.fromkeys(hit.document_id for hit in state.get("hits", ())))
