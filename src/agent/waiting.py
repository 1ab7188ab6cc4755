"""Turns that wait for a decision: finding them, and letting one decision through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..core.chat import Answer, Approval, ChatRequest
from ..core.identity import Identity
from ..errors import ConflictError, NotFoundError, RagError
from ..infra.persistence.waiting_list import WaitingList
from .approvals import APPROVED, DECIDED, DENIED, PENDING, Held, approval_of, held_of, request_of

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore
    from langgraph.types import Command

    from ..infra.persistence.threads import ThreadService
    from .state import AgentState

WAITS = "the turn waits for your decision about tool calls"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the owner of a thread says to an approval."""

    approval_id: str
    approved: bool

    def command(self, state: AgentState) -> Command[Any]:
        """How LangGraph goes on from the interrupt."""
        from langgraph.types import Command

        return Command(resume=APPROVED if self.approved else DENIED, update=cast("dict[str, Any]", state))


class Waiting:
    """The turns that wait. The checkpoint says whether one does; the store only helps to find threads, and holds nothing of them.

    Args:
        names: tools whose calls need approval; none where none can be called.
    """

    def __init__(self, checkpointer: BaseCheckpointSaver[Any], store: BaseStore | None, names: frozenset[str]) -> None:
        self._checkpointer = checkpointer
        self._store = store
        self._names = names

    @property
    def possible(self) -> bool:
        """Whether any turn can wait; where none can, nothing is looked up."""
        return bool(self._names)

    async def of_thread(self, thread_id: str) -> tuple[Held, Approval] | None:
        """What a thread waits with; nothing where nobody could decide about it."""
        data = (await self._values(thread_id)).get(PENDING) if self.possible else None
        if not data:
            return None
        held = held_of(data)
        return held, approval_of(held, thread_id, self._names)

    async def of_user(self, identity: Identity, threads: ThreadService) -> tuple[Approval, ...]:
        """All that one user's threads wait with; what the store lists and the thread does not know is forgotten."""
        if self._store is None or not self.possible:
            return ()
        found: list[Approval] = []
        listed = WaitingList(self._store)
        for thread_id in await listed.of_user(identity.tenant, identity.user):
            try:
                await threads.get(thread_id, identity)
                waiting = await self.of_thread(thread_id)
            except NotFoundError:
                waiting = None
            if waiting is None:
                await listed.remove(identity.tenant, identity.user, thread_id)
            else:
                found.append(waiting[1])
        return tuple(sorted(found, key=lambda approval: approval.created_at))

    async def admit(self, request: ChatRequest, message_id: str, decision: Decision | None) -> tuple[ChatRequest, str]:
        """The request that runs, under its message id: the one that waited, for a decision; else the one that came, if none waits.

        Raises:
            ConflictError: a question, and a turn waits; a decision, and it was decided already, or approvals are switched off by now.
            NotFoundError: a decision on what there never was.
        """
        thread_id = request.thread_id or ""
        if not self.possible:
            if decision is None:
                return request, message_id
            hint = "Name its tool in `[agent] tools` and `approve` again, or ask anew: the turn that waits is then left out."
            raise ConflictError("No tool call waits for a decision by now.", setting="agent.approve", hint=hint)
        waiting = await self.of_thread(thread_id)
        if decision is None:
            if waiting is not None:
                raise ConflictError("The conversation waits for a decision about tool calls.", hint="Allow or refuse them first.")
            return request, message_id
        if waiting is None or waiting[0].approval_id != decision.approval_id:
            if decision.approval_id in (await self._values(thread_id)).get(DECIDED, []):
                raise ConflictError("This was decided already.")
            raise NotFoundError("The conversation has no such approval.", hint="List what waits for a decision.")
        return request_of(waiting[0], thread_id), waiting[0].message_id

    async def held(self, thread_id: str, message_id: str, identity: Identity) -> Answer:
        """The answer to who asked: that there is none yet."""
        waiting = await self.of_thread(thread_id)
        if waiting is None:
            raise RagError("The agent ended without an answer.")
        held, approval = waiting
        if self._store is not None:
            await WaitingList(self._store).add(identity.tenant, identity.user, thread_id, held.approval_id)
        degraded = (*held.degraded, WAITS)
        return Answer(thread_id, message_id, held.answer, held.citations, degraded=degraded, usage=held.usage, approval=approval)

    async def _values(self, thread_id: str) -> dict[str, Any]:
        saved = await self._checkpointer.aget_tuple({"configurable": {"thread_id": thread_id}})
        return saved.checkpoint["channel_values"] if saved else {}
