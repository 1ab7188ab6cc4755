"""Feedback on answers: `/v1/feedback` and `/v1/threads/{thread_id}/…`, one word of the caller on each answer of their own."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from .deps import CallerDep, PartsDep
from .idempotency import THREAD
from .schemas import FeedbackBody, FeedbackListOut, FeedbackOut, FeedbackPostBody

router = APIRouter(prefix="/v1", tags=["threads"])


@router.get("/threads/{thread_id}/feedback")
async def list_feedback(thread_id: str, parts: PartsDep, identity: CallerDep) -> FeedbackListOut:
    """What the caller said of the answers of this thread, those included that were replaced since."""
    return FeedbackListOut.of(await (await parts.feedback()).of_thread(thread_id, identity))


@router.put("/threads/{thread_id}/messages/{message_id}/feedback")
async def give_feedback(thread_id: str, message_id: str, body: FeedbackBody, parts: PartsDep, identity: CallerDep) -> FeedbackOut:
    """Whether an answer was good, and why; again replaces what was said before."""
    return FeedbackOut.model_validate(await (await parts.feedback()).give(thread_id, message_id, identity, body.rating, body.comment))


@router.post("/feedback")
async def post_feedback(body: FeedbackPostBody, request: Request, parts: PartsDep, identity: CallerDep) -> FeedbackOut:
    """The same, with thread and message in the body."""
    setattr(request.state, THREAD, body.thread_id)
    return await give_feedback(body.thread_id, body.message_id, body, parts, identity)


@router.delete("/threads/{thread_id}/messages/{message_id}/feedback", status_code=204)
async def withdraw_feedback(thread_id: str, message_id: str, parts: PartsDep, identity: CallerDep) -> Response:
    """Take back what was said of an answer, also of one that was replaced since."""
    await (await parts.feedback()).withdraw(thread_id, message_id, identity)
    return Response(status_code=204)
