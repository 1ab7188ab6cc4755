"""The model's answer, sentence by sentence; each leaves as soon as its citations are checked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import cast

from ...core.chat import Message, TokenEvent, Usage
from ...core.retrieval import Context
from ...infra.persistence.turns import turn_from_dict
from ...infra.providers.passages import NO_ANSWER, PromptContent, PromptPassage, new_fence, render
from ...infra.providers.protocol import ChatDelta, ChatModel
from ...telemetry.stages import record_timing, stage
from ..citing import CitationChecker, heading_of
from ..prompts import ANSWER, prompt
from ..sentences import SentenceStream, marks_of
from ..state import AgentState, Emit, Verify, earlier_turns

CUT = "the answer was cut off at [chat] max_output_tokens"


async def generate(state: AgentState, *, chat: ChatModel, verify: Verify, emit: Emit) -> AgentState:
    """Ask the model and pass on what it writes; a reply that says the passages hold no answer is a refusal."""
    checker = CitationChecker(state["context"].passages, strict=verify == "sentence")
    sent: list[str] = []
    raw: list[str] = []
    reply = _Reply(chat, messages_of(state["standalone"], state["context"], said_before(state) if chat.extractive else ""))
    with stage("generate"):
        async for sentence in reply.sentences():
            raw.append(sentence)
            if (text := _checked(checker, sentence)) is None:
                continue
            if not sent:
                record_timing("first_sentence", (time.perf_counter() - state["started"]) * 1000)
            sent.append(text if sent else text.lstrip())
            emit(TokenEvent(sent[-1]))
    reasons = (*state.get("degraded", ()), *reply.degraded, *([CUT] if reply.cut else []), *dropped_reason(checker.dropped))
    return {
        "sentences": tuple(raw),
        "answer": "".join(sent),
        "citations": checker.citations,
        "refused": not sent,
        "usage": reply.usage,
        "degraded": tuple(dict.fromkeys(reasons)),  # embedding and answering may say the same
    }


def messages_of(question: str, context: Context, said: str = "") -> list[Message]:
    """The prompt that any model gets; ``said`` stands before it as the assistant's answer."""
    fence = new_fence()
    passages = tuple(PromptPassage(passage.n, heading_of(passage), passage.hit.text) for passage in context.passages)
    before = [Message("assistant", said)] if said else []
    return [
        Message("system", prompt(ANSWER, fence=fence, sentinel=NO_ANSWER)),
        *before,
        Message("user", render(PromptContent(question, passages), fence)),
    ]


def said_before(state: AgentState) -> str:
    """The answer before without its marks, where the question follows up on it: a model that quotes would quote it again."""
    turns = earlier_turns(state)
    if not turns or state["standalone"] == state["request"].message.strip():
        return ""
    before = turn_from_dict(turns[-1])
    return "" if before.refused else marks_of(before.answer)[0]


def dropped_reason(dropped: int) -> list[str]:
    """Why an answer is shorter than what the model wrote."""
    return [f"{dropped} sentence{'s' if dropped > 1 else ''} without support {'were' if dropped > 1 else 'was'} left out"] if dropped else []


def _checked(checker: CitationChecker, sentence: str) -> str | None:
    with stage("verify"):
        return checker.check(sentence)


class _Reply:
    """One streamed reply, cut into sentences, and what its last piece reported."""

    def __init__(self, chat: ChatModel, messages: list[Message]) -> None:
        self._chat = chat
        self._messages = messages
        self.usage = Usage()
        self.cut = False
        self.degraded: tuple[str, ...] = ()

    async def sentences(self) -> AsyncIterator[str]:
        cutter = SentenceStream()
        # Closing the stream with the turn stops the model when the caller goes away.
        async with aclosing(cast("_Closable", self._chat.stream(self._messages))) as stream:
            async for delta in stream:
                self.usage = delta.usage or self.usage
                self.cut = self.cut or delta.finish_reason == "length"
                self.degraded += delta.degraded
                for sentence in cutter.feed(delta.text):
                    yield sentence
        for sentence in cutter.flush():
            yield sentence


class _Closable(AsyncIterator[ChatDelta]):
    """Streams are asynchronous generators; the protocol promises only iterators."""

    async def aclose(self) -> None: ...
