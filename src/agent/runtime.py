"""The agent as the floors above use it: a question in, events out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from ..core.chat import Answer, Approval, ChatEvent, ChatRequest, CitationsEvent, DoneEvent, TokenEvent
from ..core.identity import Identity
from ..errors import DeadlineExceededError, InputError, RagError
from ..infra.persistence.turns import place_of, turn_to_dict
from ..infra.persistence.user_context import create_langgraph_config
from ..infra.providers.protocol import tool_calling
from ..infra.resilience.deadline import deadline
from ..telemetry.audit import NO_AUDIT, AuditEvent, AuditTrail, changing, reading, turn_id
from ..telemetry.content import capture
from ..telemetry.recording import note
from ..telemetry.stages import collect_timings, operation, record_stage, stage
from ..util.aio import stopped
from ..util.plain_text import is_blank
from .emitting import emitting
from .evidence import default_threshold
from .figures import Turns
from .limits import ANSWERING, MAX_SECONDS, Limits
from .waiting import Decision, Waiting

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore

    from ..infra.config import Settings
    from ..infra.persistence.threads import ThreadService
    from ..infra.providers.protocol import ChatModel, Embedder, TokenSpans
    from ..infra.search.protocol import SearchClient
    from ..retrieval.retriever import Retriever
    from .state import AgentState, Outcome
    from .tools.toolbox import Toolbox

MAX_MESSAGE_CHARS = 10_000
"""Longer messages are refused: they are documents, not questions."""


class Agent:
    """Answers questions of identities from the documents they may see. Owns none of its parts."""

    def __init__(
        self,
        *,
        chat: ChatModel,
        embedder: Embedder,
        retriever: Retriever,
        tokenizer: TokenSpans,
        checkpointer: BaseCheckpointSaver[Any],
        threads: ThreadService,
        settings: Settings,
        toolbox: Toolbox | None = None,
        search: SearchClient | None = None,
        store: BaseStore | None = None,
        audit: AuditTrail = NO_AUDIT,
    ) -> None:
        self._chat = chat
        self._embedder = embedder
        self._retriever = retriever
        self._tokenizer = tokenizer
        self._checkpointer = checkpointer
        self._threads = threads
        self._settings = settings
        self._toolbox = toolbox
        self._search = search
        self._store = store
        self._audit = audit
        self._turns = Turns()

    async def ask(self, request: ChatRequest, identity: Identity) -> Answer:
        """The whole answer of one turn. Raises what `stream` raises."""
        async with aclosing(self.stream(request, identity)) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    return event.answer
        raise RagError("The agent ended without an answer.")

    async def check(self, request: ChatRequest, identity: Identity) -> None:
        """Say what is wrong with a request, as far as it shows before its turn begins; `stream`, which finds the same, looks again when that comes.

        Raises:
            InputError: the message is empty or too long; it replaces a turn of no thread.
            NotFoundError: the thread, or in it the turn that is to be replaced, is unknown, or another user's.
            ConflictError: the thread waits for a decision.
        """
        _check(request)
        if request.thread_id is None:
            return
        await self._threads.get(request.thread_id, identity)
        await self._waiting.admit(request, "", None)
        if request.replaces is not None:
            place_of([{"message_id": turn.message_id} for turn in await self._threads.history(request.thread_id, identity)], request.replaces)

    async def stream(self, request: ChatRequest, identity: Identity) -> AsyncGenerator[ChatEvent, None]:
        """One turn as it happens: sentences, then the citations, then the whole answer.

        With ``[agent] verify = sentence`` each sentence comes once its citations are checked, and whether to refuse is
        decided before the first; ``after`` may take back what it has shown (the answer of the last event counts), ``off`` checks
        nothing. Closing the iterator stops the model; a turn that did not end leaves no trace in its
        thread. Turns of one thread run one after the other.

        Raises:
            InputError: the message is empty or too long; a filter or mode that the engine does not take.
            NotFoundError: the thread is unknown, or another user's.
            LimitExceededError, DeadlineExceededError: a limit of `[agent]` was reached before the first sentence; later, ``degraded`` names it.
            ServiceUnavailableError, ModelError, StorageError: engine, model or threads failed; their kinds.
        """
        _check(request)
        async with aclosing(self._events(request, identity)) as events:
            async for event in events:
                yield event

    async def decide(self, thread_id: str, approval_id: str, approved: bool, identity: Identity) -> AsyncGenerator[ChatEvent, None]:
        """Allow or refuse the calls that a turn waits with, and go on with it; events as of `stream`.

        Raises:
            NotFoundError: the thread, or in it the approval, is unknown, or another user's.
            ConflictError: it was decided already.
        """
        async with aclosing(self._events(ChatRequest("", thread_id), identity, Decision(approval_id, approved))) as events:
            async for event in events:
                yield event

    async def approvals(self, identity: Identity, thread_id: str | None = None) -> tuple[Approval, ...]:
        """What of the caller's threads, or of one of them, waits for a decision.

        Raises:
            NotFoundError: the thread is unknown, or another user's.
        """
        if thread_id is not None:
            await self._threads.get(thread_id, identity)
            found = await self._waiting.of_thread(thread_id)
            return () if found is None else (found[1],)
        return await self._waiting.of_user(identity, self._threads)

    async def _events(self, request: ChatRequest, identity: Identity, decision: Decision | None = None) -> AsyncGenerator[ChatEvent, None]:
        queue: asyncio.Queue[ChatEvent | None] = asyncio.Queue()
        # A task of its own: it has its own context for timings, and being cancelled ends whatever it waits for.
        task = asyncio.create_task(self._recorded(self._counted(self._turn(request, identity, queue, decision), request), request, identity, queue, decision))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            await task
        finally:
            await stopped(task)

    async def _recorded(
        self,
        turn: Coroutine[Any, Any, Answer],
        request: ChatRequest,
        identity: Identity,
        queue: asyncio.Queue[ChatEvent | None],
        decision: Decision | None,
    ) -> None:
        """A turn in the audit trail; what was searched and read for it was recorded when it was found. Its end is told once it is recorded."""
        event = AuditEvent.by(identity, "chat" if decision is None else "approval.decide", object=request.thread_id or "")
        if decision is not None:
            event = replace(event, facts={"approval": decision.approval_id, "approved": decision.approved})
        async with (reading if decision is None else changing)(self._audit, event) as noted:
            answer = await turn
            noted.object = answer.thread_id
            noted.documents = tuple(citation.document_id for citation in answer.citations)
            noted.facts = {"answered": not answer.refused and answer.approval is None, "degraded": len(answer.degraded)}
        queue.put_nowait(CitationsEvent(answer.citations))
        queue.put_nowait(DoneEvent(answer))

    async def _counted(self, turn: Coroutine[Any, Any, Answer], request: ChatRequest) -> Answer:
        with self._turns.one(request.mode or self._settings.retrieval.mode) as ended:
            answer = await turn
            ended(answer)
            return answer

    @operation("chat")
    async def _turn(self, request: ChatRequest, identity: Identity, queue: asyncio.Queue[ChatEvent | None], decision: Decision | None = None) -> Answer:
        started = time.perf_counter()
        message_id = uuid.uuid4().hex
        note(tenant=identity.tenant)
        with collect_timings() as timings:
            if request.history is not None:
                thread_id, outcome = "", await self._run(request, identity, "", message_id, started, queue)
            else:
                async with self._own_turn(request, identity) as thread_id:
                    if request.thread_id is not None:
                        request, message_id = await self._waiting.admit(request, message_id, decision)
                    outcome = await self._run(request, identity, thread_id, message_id, started, queue, decision)
                    ended = time.perf_counter()
                    if outcome is not None:
                        await self._threads.finished(thread_id, outcome["turns"])
                    record_stage("persist", (time.perf_counter() - ended) * 1000)
        timings["total"] = (time.perf_counter() - started) * 1000
        if outcome is None:
            answer = await self._waiting.held(thread_id, message_id, identity)
        else:
            answer = _answer(outcome, thread_id, message_id)
        answer = replace(answer, timings_ms={name: round(milliseconds, 2) for name, milliseconds in timings.items()})
        note(degraded=answer.degraded)
        capture("turn", request.message, answer.answer, thread_id=answer.thread_id, message_id=message_id, refused=answer.refused)
        return answer

    @asynccontextmanager
    async def _own_turn(self, request: ChatRequest, identity: Identity) -> AsyncIterator[str]:
        """The thread, for this turn alone; waiting for the turn before is a stage of its own."""
        async with AsyncExitStack() as held:
            with stage("thread"):
                thread_id = await held.enter_async_context(self._threads.turn(request.thread_id, identity, request.message))
            yield thread_id

    async def _run(
        self,
        request: ChatRequest,
        identity: Identity,
        thread_id: str,
        message_id: str,
        started: float,
        queue: asyncio.Queue[ChatEvent | None],
        decision: Decision | None = None,
    ) -> Outcome | None:
        """Run the graph, pass its sentences on, and return what its last node handed over; None where the turn waits for a decision."""
        turn_id.set(message_id)
        state: AgentState = {"request": request, "identity": identity, "message_id": message_id, "started": started, "thread_id": thread_id}
        last: list[tuple[Outcome, float]] = []

        def emit(item: TokenEvent | Outcome) -> None:
            if isinstance(item, TokenEvent):
                queue.put_nowait(item)
            else:
                last.append((item, time.perf_counter()))

        emitting.set(emit)
        stream = self._started(state, identity, thread_id, decision)
        # Its own time is LangGraph's: reading the checkpoint, and the way from node to node.
        with operation("graph"):
            async with _within(self._settings.agent.max_seconds), aclosing(stream) as items:
                async for _ in items:
                    pass
            outcome, ended = last[-1] if last else (None, 0.0)
            if outcome is not None:
                record_stage("persist", (time.perf_counter() - ended) * 1000)
        if outcome is None and (not self._waiting.possible or request.history is not None):
            raise RagError("The agent ended without an answer.")
        return outcome

    def _started(self, state: AgentState, identity: Identity, thread_id: str, decision: Decision | None) -> AsyncGenerator[Any, None]:
        """The run, which gives nothing itself: what its nodes emit goes the short way. The state is kept at the end, unless the caller told the history."""
        history = state["request"].history
        if history is None:
            config = create_langgraph_config({"user_id": identity.user, "tenant": identity.tenant}, thread_id)
            begin = state if decision is None else decision.command(state)
            # Kept once, before the caller hears that the turn is done: what a step leaves is no use to a process that comes after
            # (all but turns and summary is untracked), and cost an answer 7 of its 8 writes: 16 ms instead of 27 on PostgreSQL.
            # A decision about a tool has to be on the disk before the tool runs: only then it runs once at most.
            stream = self._graph.astream(begin, config, stream_mode="custom", durability="sync" if self._waiting.possible else "exit")
        else:
            state["turns"] = [turn_to_dict(turn) for turn in history]
            stream = self._unkept.astream(state, stream_mode="custom")
        return cast("AsyncGenerator[Any, None]", stream)

    @cached_property
    def _waiting(self) -> Waiting:
        callable_ = self._search is not None and self._toolbox is not None and tool_calling(self._chat) is not None
        names = frozenset(self._settings.agent.approve) if callable_ else frozenset()
        return Waiting(self._checkpointer, self._store, names)

    @cached_property
    def _graph(self) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
        return self._compiled(self._checkpointer)

    @cached_property
    def _unkept(self) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
        """The same graph, which keeps nothing."""
        return self._compiled(None)

    def _compiled(self, checkpointer: BaseCheckpointSaver[Any] | None) -> CompiledStateGraph[AgentState, None, AgentState, AgentState]:
        from .graph import Parts, build_graph

        agent = self._settings.agent
        threshold = default_threshold() if agent.refuse_below is None else agent.refuse_below
        parts = Parts(
            chat=self._chat,
            embedder=self._embedder,
            retriever=self._retriever,
            tokenizer=self._tokenizer,
            retrieval=self._settings.retrieval,
            verify=agent.verify,
            agent=agent,
            model=self._settings.chat,
            threshold=threshold if self._chat.extractive else None,
            toolbox=self._toolbox,
            limits=Limits.of(agent),
            search=self._search,
        )
        return build_graph(parts, checkpointer)


def _answer(outcome: Outcome, thread_id: str, message_id: str) -> Answer:
    turn = outcome["turn"]
    return Answer(
        thread_id=thread_id,
        message_id=message_id,
        answer=turn.answer,
        citations=turn.citations,
        refused=turn.refused,
        clarifying=turn.clarifying,
        degraded=turn.degraded,
        usage=outcome["usage"],
        context=outcome["context"],
    )


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    """The deadline of one request, if it has one; the graph's steps are interrupted by it, this only names the setting."""
    if seconds is None:
        yield
        return
    with deadline(seconds, ANSWERING) as holds:
        try:
            yield
        except DeadlineExceededError as error:
            if holds.doing == ANSWERING and holds.remaining() <= 0:
                error.setting = error.setting or MAX_SECONDS
            raise


def _check(request: ChatRequest) -> None:
    if is_blank(request.message):
        raise InputError("The message is empty.", hint="Ask with at least one word.")
    if "\0" in request.message:  # no database stores it as text: feedback repeats the question there
        raise InputError("The message holds a NUL character.", hint="Leave it out; texts that were cut from binary files may hold it.")
    if request.replaces is not None and request.thread_id is None:
        raise InputError("A turn can be replaced only in its thread, and none is named.", hint="Send thread_id beside replaces.")
    if request.history is not None and request.thread_id is not None:
        raise InputError("A thread has its own history.", hint="Send either thread_id or the turns before.")
    if len(request.message) > MAX_MESSAGE_CHARS:
        raise InputError(f"The message has {len(request.message)} characters; {MAX_MESSAGE_CHARS} at most.", hint="Ingest long texts as documents.")
