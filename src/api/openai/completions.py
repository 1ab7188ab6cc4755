"""`POST /v1/chat/completions`: the agent's cited answers, for clients of OpenAI's API."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Scope

from ...core.chat import Answer, ChatEvent, ChatRequest, DoneEvent, TokenEvent
from ...core.identity import Identity
from ...errors import RagError
from ...retrieval.filters import parse_filters
from ..deps import CallerDep, Parts, PartsDep
from ..leaving import while_there
from ..problems import log_problem, problem_of
from ..schemas import CitationOut
from ..sse import EventStream, data_event
from .bodies import CompletionBody, check_supported, not_applied
from .conversation import Conversation, read, sources_text
from .models import names_of
from .shapes import error_of
from .tokens import token_counts

if TYPE_CHECKING:
    from ...agent.runtime import Agent

router = APIRouter(prefix="/v1/chat", tags=["openai"])

SYSTEM = "messages of the role system"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked."""

    model: str
    asked: ChatRequest
    limit: int | None
    """Tokens that the answer may have; whole sentences only."""
    sources: bool
    include_usage: bool
    ignored: tuple[str, ...]
    prompt: tuple[str, ...]
    """All texts that the client sent."""
    id: str
    created: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer. ``text`` is what the client was given before the sources."""

    answer: Answer
    text: str
    cut: bool

    @property
    def reason(self) -> str:
        from ...agent.nodes.generate import CUT

        return "length" if self.cut or CUT in self.answer.degraded else "stop"


@router.post("/completions", response_model=None)
async def completions(body: CompletionBody, request: Request, parts: PartsDep, identity: CallerDep) -> Response:
    """Answer the last message from the documents that the caller may see, in OpenAI's shape; `rag` holds the citations.

    The messages before it are the history; no thread is kept. With ``stream`` the answer comes in chunks, a checked sentence each.
    """
    check_supported(body)
    names = await names_of(parts)
    names.check(body.model, names.chat)
    call = _call_of(body, read(body.messages))
    agent = await parts.agent()
    if body.stream:
        return EventStream(_chunks(parts, agent, call, identity, request.scope))
    return JSONResponse(await while_there(request, _whole(parts, agent, call, identity)))


def _call_of(body: CompletionBody, said: Conversation) -> Call:
    asked = ChatRequest(said.question, mode=body.rag.mode, filters=parse_filters(body.rag.filters), history=said.history)
    return Call(
        model=body.model,
        asked=asked,
        limit=body.max_completion_tokens or body.max_tokens,
        sources=body.rag.sources,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        ignored=(*not_applied(body), *([SYSTEM] if said.instructed else [])),
        prompt=(*(text for turn in said.history for text in (turn.question, turn.answer)), said.question),
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
    )


async def pieces(parts: Parts, agent: Agent, call: Call, identity: Identity) -> AsyncGenerator[str | Finished, None]:
    """The sentences of an answer as they may leave, and its end.

    What has left cannot be taken back, so with ``[agent] verify = after`` all of it waits for the check at the end.
    """
    timeout_s = parts.settings.api.request_timeout_s
    room = Room(parts, call.limit)
    due = asyncio.get_running_loop().time() + timeout_s
    waits = parts.settings.agent.verify == "after"
    answer: Answer | None = None
    try:
        async with aclosing(agent.stream(call.asked, identity)) as stream:
            while (found := await _next(parts, stream, due)) is not None:
                if isinstance(found, DoneEvent):
                    answer = found.answer
                elif isinstance(found, TokenEvent) and not waits and await room.takes(found.text):
                    yield found.text
    except TimeoutError:
        raise parts.stopping.late(timeout_s) from None
    if answer is None:
        raise RagError("The agent ended without an answer.")
    for sentence in _sentences(answer.answer) if waits else ():
        if await room.takes(sentence):
            yield sentence
    cited = answer.citations if not room.full else tuple(item for item in answer.citations if f"[{item.n}]" in room.text)
    yield Finished(replace(answer, citations=cited), room.text, room.full)


async def _next(parts: Parts, stream: AsyncGenerator[ChatEvent, None], due: float) -> ChatEvent | None:
    async with asyncio.timeout_at(due) as timer:
        with parts.stopping.ends(timer):
            return await anext(stream, None)


class Room:
    """What of an answer fits into a number of tokens: whole sentences, up to the first that does not."""

    def __init__(self, parts: Parts, limit: int | None) -> None:
        self._parts = parts
        self._limit = limit
        self._used = 0
        self.full = False
        self.text = ""

    async def takes(self, sentence: str) -> bool:
        if self._limit is not None and not self.full:
            self._used += sum(await token_counts(self._parts, [sentence]))
            self.full = self._used > self._limit
        if not self.full:
            self.text += sentence
        return not self.full


def _sentences(text: str) -> list[str]:
    from ...agent.sentences import SentenceStream

    cutter = SentenceStream()
    return [*cutter.feed(text), *cutter.flush()]


async def _usage(parts: Parts, call: Call, finished: Finished) -> dict[str, int]:
    """Tokens as the provider counted them; where the local model answered, which counts none, those of the messages and the text."""
    usage = finished.answer.usage
    read, written = usage.input_tokens, usage.output_tokens
    if await asyncio.to_thread(lambda: parts.resources.chat.extractive):
        *sent, written = await token_counts(parts, [*call.prompt, finished.text])
        read = sum(sent)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _extension(call: Call, answer: Answer) -> dict[str, Any]:
    """`rag`: what OpenAI's shape has no place for."""
    return {
        "citations": [CitationOut.model_validate(item).model_dump(exclude_none=True) for item in answer.citations],
        "refused": answer.refused,
        "clarifying": answer.clarifying,
        "degraded": list(answer.degraded),
        "not_applied": list(call.ignored),
        "timings_ms": dict(answer.timings_ms),
    }


def _ending(call: Call, finished: Finished) -> str:
    return sources_text(finished.answer.citations) if call.sources else ""


async def _whole(parts: Parts, agent: Agent, call: Call, identity: Identity) -> dict[str, Any]:
    """The answer in one piece."""
    async with aclosing(pieces(parts, agent, call, identity)) as stream:
        async for piece in stream:
            if isinstance(piece, Finished):
                return await _completion(parts, call, piece)
    raise RagError("The agent ended without an answer.")


async def _completion(parts: Parts, call: Call, finished: Finished) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": finished.text + _ending(call, finished), "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "finish_reason": finished.reason, "logprobs": None}
    usage = await _usage(parts, call, finished)
    named = {"id": call.id, "object": "chat.completion", "created": call.created, "model": call.model}
    return {**named, "choices": [choice], "usage": usage, "rag": _extension(call, finished.answer)}


async def _chunks(parts: Parts, agent: Agent, call: Call, identity: Identity, scope: Scope) -> AsyncGenerator[bytes, None]:
    """The chunks of a streamed answer; whatever goes wrong ends it with an error that the official client raises."""
    try:
        yield _chunk(call, {"role": "assistant", "content": ""})
        async with aclosing(pieces(parts, agent, call, identity)) as stream:
            async for piece in stream:
                if isinstance(piece, str):
                    yield _chunk(call, {"content": piece})
                    continue
                if ending := _ending(call, piece):
                    yield _chunk(call, {"content": ending})
                yield _chunk(call, {}, piece.reason, rag=_extension(call, piece.answer))
                if call.include_usage:
                    yield data_event({**_named(call), "choices": [], "usage": await _usage(parts, call, piece)})
        yield DONE
    except Exception as error:  # noqa: BLE001 - the stream has begun: the caller learns of a failure only through an event
        body = problem_of(error, scope)
        log_problem(error, body)
        yield data_event(error_of(body)[1])


def _named(call: Call) -> dict[str, Any]:
    return {"id": call.id, "object": "chat.completion.chunk", "created": call.created, "model": call.model}


def _chunk(call: Call, delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    usage: dict[str, Any] = {"usage": None} if call.include_usage else {}
    return data_event({**_named(call), "choices": [choice], **usage, **more})
