"""`POST /v1/chat`: one answer, as JSON or as a stream of events that can be taken up again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from starlette.types import Scope

from ..core.chat import ChatEvent, ChatRequest, CitationsEvent, TokenEvent
from ..core.identity import Identity
from ..errors import InputError
from ..retrieval.filters import parse_filters
from .deps import CallerDep, Parts, PartsDep
from .leaving import while_there
from .limits import deadline_error
from .problems import log_problem, problem_of
from .runs import KEEP_S, RUN_HEADER, Problem, parse_event_id
from .schemas import AnswerOut, ChatBody, CitationOut
from .sse import EventStream, next_before

router = APIRouter(prefix="/v1", tags=["chat"])

LastEventId = Annotated[str | None, Header(max_length=200)]


@router.post("/chat", response_model=AnswerOut, response_model_exclude_none=True)
async def chat(body: ChatBody, request: Request, parts: PartsDep, identity: CallerDep, last_event_id: LastEventId = None) -> Response | AnswerOut:
    """Answer a question from the documents that the caller may see, with citations.

    With ``stream`` the answer comes as server-sent events: `token` {"text"} for each checked sentence, `citations` [Citation],
    `done` with the whole response; or `error` with a problem document. What is wrong with the request itself is a plain
    problem answer in both cases. A client that lost the connection sends the same again with `Last-Event-ID`, and gets what follows.
    """
    head = hashlib.sha256(body.model_dump_json().encode()).digest()
    if body.stream and (begun := begun_before(request.scope, last_event_id)):
        return await resumed(parts, request.scope, *begun, identity, head)
    asked = ChatRequest(body.message, body.thread_id, body.mode, parse_filters(body.filters), body.replaces)
    agent = await parts.agent()
    if not body.stream:
        return AnswerOut.of(await while_there(request, agent.ask(asked, identity)))
    await agent.check(asked, identity)
    return await streamed(parts, request.scope, agent.stream(asked, identity), identity, head, thread_id=body.thread_id)


@router.get("/chat/runs/{run_id}/events", response_model=None, responses={200: {"content": {"text/event-stream": {}}}, 204: {}})
async def run_events(run_id: str, request: Request, parts: PartsDep, identity: CallerDep, last_event_id: LastEventId = None) -> Response:
    """The events of a streamed answer after `Last-Event-ID`, else all of them, while it goes on or for ten minutes after; 204 after the last one."""
    named, after = parse_event_id(last_event_id) if last_event_id is not None else (run_id, 0)
    if named != run_id:
        raise InputError("Last-Event-ID is an event of another run.", hint="Ask for that run's events, or leave the header out.")
    return await resumed(parts, request.scope, run_id, after, identity)


@router.delete("/chat/runs/{run_id}", status_code=204)
async def stop_run(run_id: str, parts: PartsDep, identity: CallerDep) -> Response:
    """Stop an answer under way; the turn leaves no trace in its thread. One that ended stays."""
    await parts.runs.stop(run_id, identity)
    return Response(status_code=204)


def begun_before(scope: Scope, last_event_id: str | None) -> tuple[str, int] | None:
    """The run that a request for a stream is about, and the number of the last event that came: by `Last-Event-ID`, else by its idempotency key."""
    if last_event_id is not None:
        return parse_event_id(last_event_id)
    state = scope.get("state", {})
    return (state["resume_run"], 0) if "resume_run" in state else None


async def streamed(
    parts: Parts,
    scope: Scope,
    events: AsyncGenerator[ChatEvent, None],
    identity: Identity,
    head: bytes,
    *,
    thread_id: str | None = None,
    to_the_end: bool = False,
) -> Response:
    """Begin a run that tells the agent's events, and listen to it: arguments as of `Runs.start`."""
    source = events_of(events, parts.settings.api.request_timeout_s, scope)
    keep_s = scope.get("state", {}).get("keep_run_s", KEEP_S)
    run = await parts.runs.start(identity, source, head, problems_of(scope), thread_id=thread_id, keep_s=keep_s, to_the_end=to_the_end)
    return EventStream(parts.runs.listen(run), {RUN_HEADER: run.id})


async def resumed(parts: Parts, scope: Scope, run_id: str, after: int, identity: Identity, head: bytes | None = None) -> Response:
    """Listen to a run that began before; 204 where no event follows."""
    frames = await parts.runs.follow(run_id, identity, after, problems_of(scope), head)
    return Response(status_code=204) if frames is None else EventStream(frames, {RUN_HEADER: run_id})


def problems_of(scope: Scope) -> Problem:
    """Problem documents for the ``error`` events of a request."""

    def problem(error: BaseException) -> Mapping[str, Any]:
        body = problem_of(error, scope)
        log_problem(error, body)
        return body

    return problem


async def events_of(events: AsyncGenerator[ChatEvent, None], timeout_s: float, scope: Scope) -> AsyncGenerator[tuple[str, Any], None]:
    """Names and data of the events of one answer; whatever goes wrong, time included, ends it with an ``error`` event."""
    due = asyncio.get_running_loop().time() + timeout_s
    try:
        # The agent's stream is an asynchronous generator; closing it is what stops the run.
        async with aclosing(events) as stream:
            while (found := await next_before(stream, due)) is not None:
                yield encode(found)
    except TimeoutError:
        yield "error", problem_of(deadline_error(timeout_s), scope)
    except Exception as error:  # noqa: BLE001 - the stream has begun: the caller learns of a failure only through an event
        yield "error", problems_of(scope)(error)


def encode(found: ChatEvent) -> tuple[str, Any]:
    """Name and data of one event of the agent."""
    if isinstance(found, TokenEvent):
        return "token", {"text": found.text}
    if isinstance(found, CitationsEvent):
        return "citations", [CitationOut.model_validate(citation).model_dump(exclude_none=True) for citation in found.citations]
    return "done", AnswerOut.of(found.answer).model_dump(exclude_none=True)
