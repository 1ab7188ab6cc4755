"""`POST /v1/chat`: one answer, as JSON or as a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.types import Scope

from ..core.chat import ChatEvent, ChatRequest, CitationsEvent, TokenEvent
from ..core.identity import Identity
from ..retrieval.filters import parse_filters
from .deps import CallerDep, PartsDep
from .leaving import while_there
from .limits import deadline_error
from .problems import log_problem, problem_of
from .schemas import AnswerOut, ChatBody, CitationOut
from .sse import EventStream, event, next_before

if TYPE_CHECKING:
    from ..agent.runtime import Agent

router = APIRouter(prefix="/v1", tags=["chat"])


@router.post("/chat", response_model=AnswerOut, response_model_exclude_none=True)
async def chat(body: ChatBody, request: Request, parts: PartsDep, identity: CallerDep) -> Response | AnswerOut:
    """Answer a question from the documents that the caller may see, with citations.

    With ``stream`` the answer comes as server-sent events: `token` {"text"} for each checked sentence, `citations` [Citation],
    `done` with the whole response; or `error` with a problem document. What is wrong with the request itself is a plain
    problem answer in both cases.
    """
    asked = ChatRequest(body.message, body.thread_id, body.mode, parse_filters(body.filters), body.replaces)
    if body.thread_id is not None:
        await (await parts.threads()).get(body.thread_id, identity)
    agent = await parts.agent()
    if body.stream:
        return EventStream(events_of(agent, asked, identity, parts.settings.api.request_timeout_s, request.scope))
    return AnswerOut.of(await while_there(request, agent.ask(asked, identity)))


async def events_of(agent: Agent, asked: ChatRequest, identity: Identity, timeout_s: float, scope: Scope) -> AsyncGenerator[bytes, None]:
    """The events of one answer; whatever goes wrong, time included, ends it with an ``error`` event."""
    due = asyncio.get_running_loop().time() + timeout_s
    try:
        # The agent's stream is an asynchronous generator; closing it is what stops the run.
        async with aclosing(agent.stream(asked, identity)) as stream:
            while (found := await next_before(stream, due)) is not None:
                yield encode(found)
    except TimeoutError:
        yield event("error", problem_of(deadline_error(timeout_s), scope))
    except Exception as error:  # noqa: BLE001 - the stream has begun: the caller learns of a failure only through an event
        body = problem_of(error, scope)
        log_problem(error, body)
        yield event("error", body)


def encode(found: ChatEvent) -> bytes:
    """One event of the agent as a server-sent event."""
    if isinstance(found, TokenEvent):
        return event("token", {"text": found.text})
    if isinstance(found, CitationsEvent):
        return event("citations", [CitationOut.model_validate(citation).model_dump(exclude_none=True) for citation in found.citations])
    return event("done", AnswerOut.of(found.answer).model_dump(exclude_none=True))
