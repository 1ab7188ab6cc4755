"""The model's answer, sentence by sentence; each leaves as soon as its citations are checked."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast

from ...core.chat import Message, TokenEvent, ToolCall, ToolSpec, Usage
from ...core.retrieval import Context, Passage
from ...errors import DeadlineExceededError
from ...infra.persistence.turns import turn_from_dict
from ...infra.providers.passages import NO_ANSWER, PromptContent, PromptPassage, new_fence, render, render_result
from ...infra.providers.protocol import ChatDelta, ChatModel, tool_calling
from ...infra.resilience.deadline import enforced, remaining
from ...telemetry.stages import record_stage, record_timing, stage
from ..citing import CitationChecker, heading_of
from ..context.history import History, messages_of_turns
from ..inert import Instructions
from ..limits import MAX_SECONDS, STEPS_ENDED, Limits, Meter, cut_reason, limit_error
from ..prompts import ANSWER, TOOLS, Prompts
from ..sentences import SentenceStream, marks_of
from ..state import AgentState, Emit, Verify, earlier_turns
from ..tools.protocol import Round

CUT = "the answer was cut off at [chat] max_output_tokens"


async def generate(
    state: AgentState, *, chat: ChatModel, verify: Verify, emit: Emit, prompts: Prompts, tools: Sequence[ToolSpec] = (), limits: Limits | None = None
) -> AgentState:
    """One reply of the model, passed on as it writes; where it calls tools, they are answered and it is asked again.

    A reply that says the passages hold no answer is a refusal.

    Args:
        tools: offered to the model, until their calls were ended.

    Raises:
        LimitExceededError, DeadlineExceededError: a limit of the request was reached before a sentence could leave.
    """
    fence = state.get("fence") or new_fence()
    offered = () if STEPS_ENDED in state.get("degraded", ()) else tuple(tools)
    messages = prompt_of(state, fence, extractive=chat.extractive, tools=bool(tools), prompts=prompts)
    reply = _Reply(chat, messages, offered, Meter(limits or Limits(), state.get("usage", Usage()), messages))
    checker = CitationChecker(state["context"].passages, strict=verify == "sentence", earlier=state.get("citations", ()))
    instructions, leaked = Instructions(messages[0].content, fence), 0
    sent, raw = [state["answer"]] if state.get("answer") else [], list(state.get("sentences", ()))
    checks = _Checks(checker)
    with stage("generate"), checks:
        async for sentence in reply.sentences(begun=sent):
            if not chat.extractive and instructions.repeated_in(sentence):
                leaked += 1
                continue
            raw.append(sentence)
            if (text := checks.of(sentence)) is None:
                continue
            _send(text, sent, emit, state, first=len(raw) == len(state.get("sentences", ())) + 1)
    calls = reply.calls if offered else ()
    dropped = state.get("dropped", 0) + checker.dropped + leaked
    return {
        "fence": fence,
        "calls": calls,
        "said": reply.text if calls else "",
        "dropped": dropped,
        "sentences": tuple(raw),
        "answer": "".join(sent),
        "citations": checker.citations,
        "refused": not sent and not calls,
        "usage": state.get("usage", Usage()) + reply.usage,
        "degraded": reasons_of(state, reply, 0 if calls else dropped),
    }


def reasons_of(state: AgentState, reply: _Reply, dropped: int) -> tuple[str, ...]:
    """Why the answer is less than asked for, each reason once: embedding and answering may say the same."""
    return tuple(dict.fromkeys((*state.get("degraded", ()), *reply.degraded, *([reply.cut] if reply.cut else []), *dropped_reason(dropped))))


def prompt_of(state: AgentState, fence: str, *, extractive: bool, tools: bool, prompts: Prompts) -> list[Message]:
    """What the model is sent: instructions, what of the conversation fits, passages and question, then its own calls with their answers."""
    rounds = state.get("rounds", ())
    context = state["context"]
    brought = {number for round_ in rounds for answer in round_.answers for number in answer.passages}
    found = tuple(passage for passage in context.passages if passage.n not in brought) if brought else context.passages
    history = History() if extractive else state.get("history", History())
    question = state["standalone"] if extractive else asked(state, history)
    messages = messages_of(question, Context(found, context.tokens), history, fence=fence, tools=tools, prompts=prompts)
    if extractive and (said := said_before(state)):
        messages.insert(-1, Message("assistant", said))
    return [*messages, *(message for round_ in rounds for message in messages_of_round(round_, context.passages, fence))]


def asked(state: AgentState, shown: History) -> str:
    """The question in the user's own words: what was made of it for the search may say something else.

    Where the conversation that it leans on has no room in the prompt, what it stands for follows.
    """
    question, full = state["request"].message.strip(), state["standalone"]
    if full == question or shown.turns or shown.summary or not earlier_turns(state):
        return question
    return f"{question}\nIn full: {full}"


def messages_of_round(round_: Round, passages: Sequence[Passage], fence: str) -> list[Message]:
    """A reply that called tools, and what each was answered."""
    by_number = {passage.n: passage for passage in passages}
    messages = [Message("assistant", round_.said, tuple(answer.call for answer in round_.answers))]
    for answer in round_.answers:
        shown = [_shown(by_number[number]) for number in answer.passages if number in by_number]
        messages.append(Message("tool", render_result(answer.text, shown, fence), tool_call_id=answer.call.id))
    return messages


def messages_of(question: str, context: Context, history: History, *, fence: str, tools: bool, prompts: Prompts) -> list[Message]:
    """The prompt that any model gets: a summary stands in the user's message, fenced as what it is, data of the conversation."""
    passages = tuple(_shown(passage) for passage in context.passages)
    system = [prompts.text(name, fence=fence, sentinel=NO_ANSWER) for name in (ANSWER, *([TOOLS] if tools else []))]
    told = f"<<summary of the conversation {fence}>>\n{history.summary}\n<<end summary {fence}>>\n\n" if history.summary else ""
    user = told + render(PromptContent(question, passages), fence)
    return [Message("system", "\n\n".join(system)), *messages_of_turns(history.turns), Message("user", user)]


def _shown(passage: Passage) -> PromptPassage:
    return PromptPassage(passage.n, heading_of(passage), passage.hit.text)


def _send(text: str, sent: list[str], emit: Emit, state: AgentState, *, first: bool) -> None:
    if not sent:
        record_timing("first_sentence", (time.perf_counter() - state["started"]) * 1000)
    sent.append(_following(text, sent, first=first))
    emit(TokenEvent(sent[-1]))


def _following(text: str, sent: Sequence[str], *, first: bool) -> str:
    """A sentence as it follows what was sent: the answer's first has nothing before it, that of a further reply a space."""
    if not sent:
        return text.lstrip()
    return f" {text.lstrip()}" if first else text


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


class _Checks:
    """The checks of one reply's sentences, a stage together: a stage for each took a quarter of what the checks did."""

    def __init__(self, checker: CitationChecker) -> None:
        self._checker = checker
        self._seconds = 0.0

    def of(self, sentence: str) -> str | None:
        begun = time.perf_counter()
        try:
            return self._checker.check(sentence)
        finally:
            self._seconds += time.perf_counter() - begun

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        record_stage("verify", self._seconds * 1000)


class _Reply:
    """One streamed reply, cut into sentences, and what its last piece reported."""

    def __init__(self, chat: ChatModel, messages: list[Message], tools: Sequence[ToolSpec], meter: Meter) -> None:
        self._chat = chat
        self._messages = messages
        self._tools = tools
        self._meter = meter
        self.usage = Usage()
        self.cut = ""
        self.degraded: tuple[str, ...] = ()
        self.calls: tuple[ToolCall, ...] = ()
        self.text = ""

    async def sentences(self, begun: Sequence[str]) -> AsyncGenerator[str, None]:
        """Sentences as they are whole. At a limit of the request the answer ends after the last whole one.

        Args:
            begun: what has left of the answer, as it grows; while there is nothing, a limit is an error.
        """
        cutter = SentenceStream()
        if over := self._meter.check():
            self._end(over, begun)
            return
        try:
            async with aclosing(self._deltas()) as deltas:
                async for delta in deltas:
                    self._read(delta)
                    for sentence in cutter.feed(delta.text):
                        yield sentence
                    if delta.text and (over := self._meter.feed(delta.text)):
                        self.usage = self._meter.estimate
                        self._end(over, begun)
                        return
        except DeadlineExceededError:
            if remaining() != 0 or not begun:
                raise
            self.usage = self._meter.estimate
            self._end(MAX_SECONDS, begun)
            return
        for sentence in cutter.flush():
            yield sentence

    async def _deltas(self) -> AsyncGenerator[ChatDelta, None]:
        caller = tool_calling(self._chat)
        stream = caller.stream(self._messages, self._tools) if caller is not None and self._tools else self._chat.stream(self._messages)
        # Closing the stream with the turn stops the model when the caller goes away.
        async with aclosing(cast("_Closable", stream)) as pieces:
            if remaining() is None:
                async for piece in pieces:
                    yield piece
                return
            while True:
                async with enforced("waiting for the model"):  # around each wait: a timeout must not span a yield
                    delta = await anext(pieces, None)
                if delta is None:
                    return
                yield delta

    def _read(self, delta: ChatDelta) -> None:
        self.text += delta.text
        self.usage = delta.usage or self.usage
        self.calls = delta.tool_calls or self.calls
        self.cut = CUT if delta.finish_reason == "length" else self.cut
        self.degraded += delta.degraded

    def _end(self, setting: str, begun: Sequence[str]) -> None:
        if not begun:
            raise limit_error(setting)
        self.cut, self.calls = cut_reason(setting), ()


class _Closable(AsyncIterator[ChatDelta]):
    """Streams are asynchronous generators; the protocol promises only iterators."""

    async def aclose(self) -> None: ...
