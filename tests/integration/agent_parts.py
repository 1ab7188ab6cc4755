"""An agent over the real engine, the real embedder and real threads; the chat model is scripted where a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.agent.runtime import Agent
from src.core.chat import ChatRequest, CitationsEvent, DoneEvent, Message, TokenEvent, Usage
from src.core.identity import EVERYONE, Identity
from src.infra.config import AgentCfg, CacheCfg, ChatCfg, Settings, StorageCfg
from src.infra.providers.passages import PromptContent, parse
from src.infra.providers.protocol import ChatDelta, ChatResult
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item

ME = Identity("anne")

DOCUMENTS = {
    "leave.md": (
        "Annual leave",
        "# Annual leave\n\nEmployees receive 25 days of paid annual leave each calendar year. Up to five unused days may be carried over"
        " until 31 March. Leave is not paid out in money, unless the contract ends.\n\nRequests go to the line manager at least two weeks ahead.",
    ),
    "outage.md": (
        "Power cuts",
        "# Power cuts\n\nReport a power cut by calling 0800 555 014, which is staffed day and night. Crews from the Westhaven depot"
        " reach most customers within 90 minutes. Do not touch fallen lines.",
    ),
    "meter.md": ("Meter readings", "# Meter readings\n\nRead the digits of your gas meter from left to right and ignore those in red."),
}


Script = Callable[[PromptContent], Sequence[str]]


@dataclass
class ScriptedChat:
    """A `ChatModel` that says what a test tells it to, in pieces, after having read the prompt it was given."""

    script: Script
    condensed: str = ""
    finish: str | None = "stop"
    pause: asyncio.Event | None = None
    closed: bool = False
    pieces: int = 0

    def __post_init__(self) -> None:
        self.prompts: list[Sequence[Message]] = []

    @property
    def model(self) -> str:
        return "scripted"

    @property
    def extractive(self) -> bool:
        return False

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        assert not isinstance(messages, str)
        self.prompts.append(messages)
        return ChatResult(self.condensed)

    async def stream(self, messages: Sequence[Message] | str) -> AsyncIterator[ChatDelta]:
        assert not isinstance(messages, str)
        self.prompts.append(messages)
        try:
            for text in self.script(parse(messages)):
                self.pieces += 1
                yield ChatDelta(text)
                if self.pause is not None:
                    await self.pause.wait()
            yield ChatDelta(finish_reason=self.finish, usage=Usage(120, 30))  # type: ignore[arg-type] - tests pass literal reasons
        finally:
            self.closed = True

    async def aclose(self) -> None: ...


def number_of(content: PromptContent, word: str) -> int:
    """The number of the passage that holds a word."""
    return next(passage.n for passage in content.passages if word in passage.text)


@asynccontextmanager
async def agent_over(
    folder: Path,
    model_cache: Path,
    chat: ScriptedChat | None = None,
    documents: dict[str, tuple[str, str]] | None = None,
    chat_cfg: ChatCfg | None = None,
    **agent: Any,
) -> AsyncIterator[tuple[Agent, ResourceManager]]:
    """An agent whose data folder is ``folder``; closed at the end, so that opening it again is a restart."""
    settings = Settings(storage=StorageCfg(path=folder), cache=CacheCfg(path=model_cache), chat=chat_cfg or ChatCfg(), agent=AgentCfg(**agent))
    async with ResourceManager(settings, overrides={"chat": chat} if chat else {}) as resources:
        items = [upload_item(text.encode(), name, title=title) for name, (title, text) in (documents or DOCUMENTS).items()]
        await resources.get("ingestor").ingest(items, tenant=ME.tenant, acl=(EVERYONE,))
        yield resources.get("agent"), resources


async def events_of(agent: Agent, message: str, **request: Any) -> tuple[list[str], list[Any]]:
    """The sentences of a turn, and its other events."""
    tokens: list[str] = []
    others: list[Any] = []
    async for event in agent.stream(ChatRequest(message, **request), ME):
        if isinstance(event, TokenEvent):
            assert not others, "no sentence comes after the citations"
            tokens.append(event.text)
        else:
            others.append(event)
    assert [type(event) for event in others] == [CitationsEvent, DoneEvent]
    return tokens, others
