"""`/v1/approvals`: tool calls of the caller's own turns that wait for a decision. A foreign thread looks like one that does not exist."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from ..core.chat import Approval, DoneEvent
from ..errors import RagError
from .deps import CallerDep, PartsDep
from .schemas import AnswerOut, ApprovalOut, Body, Out

router = APIRouter(prefix="/v1", tags=["approvals"])


class DecisionBody(Body):
    """`POST /v1/threads/{id}/approvals/{approval_id}`"""

    approve: Annotated[bool, Field(strict=True, description="Whether the calls may run; else the model is told that they may not.")]


class ApprovalsOut(Out):
    approvals: tuple[ApprovalOut, ...]

    @classmethod
    def of_all(cls, approvals: tuple[Approval, ...]) -> ApprovalsOut:
        return cls(approvals=tuple(ApprovalOut.model_validate(approval) for approval in approvals))


@router.get("/approvals")
async def list_approvals(parts: PartsDep, identity: CallerDep) -> ApprovalsOut:
    """What waits for the caller's decision, in all threads, the oldest first; 200 at most."""
    return ApprovalsOut.of_all(await (await parts.agent()).approvals(identity))


@router.get("/threads/{thread_id}/approvals")
async def thread_approvals(thread_id: str, parts: PartsDep, identity: CallerDep) -> ApprovalsOut:
    """What one thread waits with: one approval at most, for all calls of one reply."""
    return ApprovalsOut.of_all(await (await parts.agent()).approvals(identity, thread_id))


@router.post("/threads/{thread_id}/approvals/{approval_id}", response_model_exclude_none=True)
async def decide(thread_id: str, approval_id: str, body: DecisionBody, parts: PartsDep, identity: CallerDep) -> AnswerOut:
    """Allow or refuse the calls, once: 409 where that was done before. The turn goes on here, on whichever replica, and its answer is returned.

    It goes on also where the caller does not wait for it.
    """
    agent = await parts.agent()
    async with aclosing(agent.decide(thread_id, approval_id, body.approve, identity)) as events:
        async for event in events:
            if isinstance(event, DoneEvent):
                return AnswerOut.of(event.answer)
    raise RagError("The agent ended without an answer.")
