"""`/v1/approvals`: tool calls of the caller's own turns that wait for a decision. A foreign thread looks like one that does not exist."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from ..core.chat import Approval, DoneEvent
from ..errors import RagError
from .chat import LastEventId, begun_before, resumed, streamed
from .deps import CallerDep, PartsDep
from .schemas import AnswerOut, ApprovalOut, Body, Out

router = APIRouter(prefix="/v1", tags=["approvals"])


class DecisionBody(Body):
    """`POST /v1/threads/{id}/approvals/{approval_id}`"""

    approve: Annotated[bool, Field(strict=True, description="Whether the calls may run; else the model is told that they may not.")]
    stream: Annotated[bool, Field(strict=True)] = Field(False, description="Answer as server-sent events, as `POST /v1/chat` does.")


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


@router.post("/threads/{thread_id}/approvals/{approval_id}", response_model=AnswerOut, response_model_exclude_none=True)
async def decide(
    thread_id: str, approval_id: str, body: DecisionBody, request: Request, parts: PartsDep, identity: CallerDep, last_event_id: LastEventId = None
) -> Response | AnswerOut:
    """Allow or refuse the calls, once: 409 where that was done before. The turn goes on here, on whichever replica, and its answer is returned.

    It goes on also where the caller does not wait for it. With ``stream`` it is a run as that of `POST /v1/chat`, which can be taken up again and stopped.
    """
    head = hashlib.sha256(f"{thread_id}\0{approval_id}\0{body.model_dump_json()}".encode("utf-8", "surrogatepass")).digest()
    if body.stream and (begun := begun_before(request.scope, last_event_id)):
        return await resumed(parts, request.scope, *begun, identity, head)
    agent = await parts.agent()
    events = agent.decide(thread_id, approval_id, body.approve, identity)
    # What is wrong with the request is a plain answer in both cases: what does not wait is refused below.
    if body.stream and any(waiting.approval_id == approval_id for waiting in await agent.approvals(identity, thread_id)):
        return await streamed(parts, request.scope, events, identity, head, thread_id=thread_id, to_the_end=True)
    async with aclosing(events) as stream:
        async for event in stream:
            if isinstance(event, DoneEvent):
                return AnswerOut.of(event.answer)
    raise RagError("The agent ended without an answer.")
