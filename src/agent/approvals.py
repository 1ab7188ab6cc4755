"""A turn that waits for a person: what is kept of it until somebody decides, and how it is found again.

Kept are the question, what the model wrote and wants to have run, and which passages and earlier turns it was shown, by their ids. The
text of passages is read anew when the turn goes on, in what its owner may see by then, so that none of it lies in the threads'
database; turns lie in the thread itself. The model is then sent what it would have been sent without the wait.
"""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ..core.chat import Approval, ApprovalCall, ChatRequest, Citation, ContextUse, ToolCall, Usage
from ..core.identity import AccessScope
from ..core.retrieval import Context, Passage
from ..core.search import AnyOf, Exists, Filter, Mode, Range
from ..infra.persistence.turns import turn_from_dict
from ..util.clock import iso_now
from .context.history import History
from .state import AgentState, earlier_turns, retrieved_of
from .tools.fetch_document import hit_of
from .tools.protocol import Round

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from ..infra.search.protocol import SearchClient

APPROVED = "approved"
DENIED = "denied"
PENDING = "pending"
DECIDED = "decided"
MOST_DECIDED = 50
"""Decisions of a thread that are remembered, so that a second one is told apart from one on nothing."""
_FILTERS: dict[str, type[Filter]] = {kind.__name__: kind for kind in (AnyOf, Range, Exists)}


@dataclass(frozen=True, slots=True)
class Held:
    """A turn that waits, as plain data would hold it; fields as in `AgentState`."""

    approval_id: str
    created_at: str
    message_id: str
    message: str
    mode: Mode | None
    replaces: str | None
    filters: tuple[dict[str, Any], ...]
    standalone: str
    fence: str
    calls: tuple[ToolCall, ...]
    said: str
    rounds: tuple[Round, ...]
    steps: int
    answer: str
    sentences: tuple[str, ...]
    citations: tuple[Citation, ...]
    dropped: int
    degraded: tuple[str, ...]
    usage: Usage
    passages: tuple[tuple[int, str, str], ...]
    """Number, document id and chunk id."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of each passage, by its chunk id."""
    tokens: int = 0
    """Of all passages together."""
    retrieved: tuple[str, ...] = ()
    turns: tuple[str, ...] = ()
    """Ids of the earlier turns that the model was shown."""
    summary: str = ""
    use: ContextUse | None = None


@cache
def _adapter() -> TypeAdapter[Held]:
    from pydantic import TypeAdapter

    return TypeAdapter(Held)


def hold(state: AgentState) -> dict[str, Any]:
    """What is kept of a turn, as plain data for a checkpoint."""
    request, context, history = state["request"], state["context"], state.get("history", History())
    held = Held(
        approval_id=uuid.uuid4().hex,
        created_at=iso_now(),
        message_id=state["message_id"],
        message=request.message,
        mode=request.mode,
        replaces=request.replaces,
        filters=tuple({"kind": type(one).__name__, **dataclasses.asdict(one)} for one in request.filters),
        standalone=state["standalone"],
        fence=state["fence"],
        calls=state["calls"],
        said=state.get("said", ""),
        rounds=state.get("rounds", ()),
        steps=state.get("steps", 0),
        answer=state.get("answer", ""),
        sentences=state.get("sentences", ()),
        citations=state.get("citations", ()),
        dropped=state.get("dropped", 0),
        degraded=state.get("degraded", ()),
        usage=state.get("usage", Usage()),
        passages=tuple((passage.n, passage.hit.document_id, passage.hit.chunk_id) for passage in context.passages),
        scores={passage.hit.chunk_id: passage.hit.score for passage in context.passages},
        tokens=context.tokens,
        retrieved=retrieved_of(state),
        turns=tuple(turn.message_id for turn in history.turns),
        summary=history.summary,
        use=history.use,
    )
    data: dict[str, Any] = _adapter().dump_python(held, mode="json")
    return data


def held_of(data: dict[str, Any]) -> Held:
    """What `hold` made."""
    return _adapter().validate_python(data)


def request_of(held: Held, thread_id: str) -> ChatRequest:
    """The question that waits."""
    return ChatRequest(held.message, thread_id, held.mode, tuple(_filter(one) for one in held.filters), held.replaces)


def _filter(data: dict[str, Any]) -> Filter:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "kind"}
    return _FILTERS[data["kind"]](**values)


def approval_of(held: Held, thread_id: str, names: frozenset[str]) -> Approval:
    """What a person is asked."""
    calls = tuple(ApprovalCall(call.name, call.arguments) for call in held.calls if call.name in names)
    return Approval(held.approval_id, thread_id, held.created_at, held.message, calls)


async def restored(held: Held, state: AgentState, search: SearchClient, scope: AccessScope) -> AgentState:
    """The state of the turn as it goes on. Passages that are gone, or that its owner may not see any more, are left out.

    Args:
        state: the thread's, with the question.
    """
    passages: list[Passage] = []
    for document_id in dict.fromkeys(document_id for _, document_id, _ in held.passages):
        passages += await _passages(held, document_id, search, scope)
    shown = [turn_from_dict(turn) for turn in earlier_turns(state) if turn["message_id"] in held.turns]
    return {
        "history": History(tuple(shown), held.summary, held.use),
        "retrieved": held.retrieved,
        "standalone": held.standalone,
        "fence": held.fence,
        "context": Context(tuple(sorted(passages, key=lambda passage: passage.n)), held.tokens),
        "calls": held.calls,
        "said": held.said,
        "rounds": held.rounds,
        "steps": held.steps,
        "answer": held.answer,
        "sentences": held.sentences,
        "citations": held.citations,
        "dropped": held.dropped,
        "degraded": held.degraded,
        "usage": held.usage,
        "refused": False,
    }


async def _passages(held: Held, document_id: str, search: SearchClient, scope: AccessScope) -> list[Passage]:
    document = await search.get_document(document_id, scope)
    if document is None:
        return []
    chunks = {chunk.id: chunk for chunk in await search.get_chunks(document_id, scope)}
    return [
        Passage(n, dataclasses.replace(hit_of(document, chunks[chunk]), score=held.scores.get(chunk, 0.0)))
        for n, of, chunk in held.passages
        if of == document_id and chunk in chunks
    ]
