"""An agent whose model is OpenAI's protocol spoken by the emulator, so that it can be scripted to call tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from src.agent.runtime import Agent
from src.agent.tools.protocol import ToolContext, ToolResult
from src.core.identity import EVERYONE
from src.infra.config import AgentCfg, CacheCfg, ChatCfg, NetworkCfg, Settings, StorageCfg
from src.infra.resource_manager import ResourceManager
from src.ingestion.sources.upload import upload_item
from src.retrieval.config import RetrievalCfg
from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.integration.agent_parts import DOCUMENTS, ME

Documents = dict[str, tuple[str, str]]


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = ""


@dataclass
class SpyTool:
    """Notes for whom it ran, and does what a test wants."""

    name: str = "spy"
    does: Callable[[Note, ToolContext], Any] | None = None
    description: str = "Take a note."
    arguments: type[BaseModel] = Note
    ran: list[tuple[Note, ToolContext]] = field(default_factory=list)

    async def run(self, arguments: Note, context: ToolContext) -> ToolResult:
        self.ran.append((arguments, context))
        result = self.does(arguments, context) if self.does is not None else None
        if hasattr(result, "__await__"):
            result = await result
        return result if isinstance(result, ToolResult) else ToolResult("Noted.")


@asynccontextmanager
async def tool_agent(
    folder: Path,
    model_cache: Path,
    azure: AzureOpenAIEmulator,
    chat_cfg: ChatCfg,
    documents: Documents | None = None,
    private: Sequence[tuple[str, str, str]] = (),
    passages: int = 2,
    settings: dict[str, Any] | None = None,
    **agent: Any,
) -> AsyncIterator[tuple[Agent, ResourceManager]]:
    """Args: private: (name, text, principal) of documents that one principal alone may see."""
    made = Settings(
        **{"storage": StorageCfg(path=folder), **(settings or {})},
        cache=CacheCfg(path=model_cache),
        chat=chat_cfg,
        network=NetworkCfg(ca_bundle=azure.ca_file),
        retrieval=RetrievalCfg(passages=passages),
        agent=AgentCfg(**{"tools": ("search", "fetch_document"), **agent}),
    )
    async with ResourceManager(made) as resources:
        items = [upload_item(text.encode(), name, title=title) for name, (title, text) in (documents or DOCUMENTS).items()]
        await resources.get("ingestor").ingest(items, tenant=ME.tenant, acl=(EVERYONE,))
        for name, text, principal in private:
            await resources.get("ingestor").ingest([upload_item(text.encode(), name, title=name)], tenant=ME.tenant, acl=(principal,))
        yield resources.get("agent"), resources


def told(azure: AzureOpenAIEmulator, request: int = -1) -> list[str]:
    """What the model was told by tools, as of one of its requests."""
    return [message["content"] for message in azure.requests[request].body["messages"] if message["role"] == "tool"]


async def gone(azure: AzureOpenAIEmulator) -> bool:
    """Whether all connections to the model end; waits for it."""
    for _ in range(500):
        if azure.open_connections == 0:
            return True
        await asyncio.sleep(0.01)
    return False
