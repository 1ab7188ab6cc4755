"""A LangChain tool that answers from the documents: for any agent that calls tools."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.runnables import ensure_config
from langchain_core.tools import ArgsSchema, BaseTool, ToolException
from pydantic import BaseModel, Field

from ...agent.runtime import MAX_MESSAGE_CHARS, Agent
from ...core.chat import ChatRequest
from ...core.identity import Identity
from ...core.search import Mode
from ...errors import RagError
from ...infra.resource_manager import ResourceManager, get_resources
from ...retrieval.filters import parse_filters
from ...util.aio import run_sync
from ..callers import identity_of
from ..shapes import answer_shape, answer_text


class Question(BaseModel):
    question: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS, description="One whole question that needs no context.")]


class RagTool(BaseTool):
    """Asks the documents one question; no thread is kept.

    The content is the answer with its ``[n]`` marks and what they stand for; the artifact is the same as data, in the shape of
    `POST /v1/chat`. The model chooses the question alone: identity, mode and filters are those that the tool was made with.
    What goes wrong is the content of a message with ``status = "error"``, so that the model reads what failed and what to
    do; with ``handle_tool_error=False`` it is raised as LangChain's `ToolException`, our error as its cause.
    """

    name: str = "company_documents"
    description: str = "Answers a question from the company's documents, each sentence with its citation, or says that they do not hold the answer."
    args_schema: ArgsSchema | None = Question
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True

    resources: ResourceManager = Field(default_factory=get_resources, exclude=True, repr=False)
    identity: Identity | None = Field(None, exclude=True)
    """Who asks; None: whoever the running request or the graph's config names (see `integrations.callers`)."""
    mode: Mode | None = None
    filters: dict[str, Any] = Field(default_factory=dict)

    def _run(self, question: str, run_manager: CallbackManagerForToolRun | None = None) -> tuple[str, dict[str, Any]]:
        return run_sync(self._ask(question, self._caller()))

    async def _arun(self, question: str, run_manager: AsyncCallbackManagerForToolRun | None = None) -> tuple[str, dict[str, Any]]:
        return await self._ask(question, self._caller())

    def _caller(self) -> Identity:
        return identity_of(self.resources, self.identity, ensure_config().get("configurable"))

    async def _ask(self, question: str, caller: Identity) -> tuple[str, dict[str, Any]]:
        try:
            request = ChatRequest(question, mode=self.mode, filters=parse_filters(self.filters), history=())
            agent = cast("Agent", await asyncio.to_thread(self.resources.get, "agent"))
            answer = await agent.ask(request, caller)
        except RagError as error:
            raise ToolException(f"{error.message} {error.hint}".strip()) from error
        return answer_text(answer), answer_shape(answer)
