"""The graph of docs/agent-runtime.md, "Your own LangGraph graph on our resources", runs as it stands there, on every backend."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src.core.identity import EVERYONE
from src.infra.config import CacheCfg, PersistenceCfg, Settings, StorageCfg
from src.infra.persistence.retention import Retention
from src.infra.resource_manager import ResourceManager, use_resources
from src.ingestion.sources.upload import upload_item
from tests.integration.agent_parts import DOCUMENTS


def snippet(root: Path) -> str:
    page = (root / "docs" / "agent-runtime.md").read_text(encoding="utf-8")
    section = page.split("## Your own LangGraph graph on our resources\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


def test_it_has_twenty_lines(root: Path) -> None:
    assert len([line for line in snippet(root).splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgres"])
async def test_a_graph_of_ones_own_answers_remembers_and_is_retained(
    backend: Any, root: Path, tmp_path: Path, model_cache: Path, request: pytest.FixtureRequest
) -> None:
    options: dict[str, Any] = {}
    if backend == "postgres":
        server = request.getfixturevalue("postgres")
        options["dsn"] = SecretStr(server.dsn(server.database()))
    settings = Settings(storage=StorageCfg(path=tmp_path), cache=CacheCfg(path=model_cache), persistence=PersistenceCfg(backend=backend, **options))
    async with ResourceManager(settings) as resources:
        with use_resources(resources):
            items = [upload_item(text.encode(), name, title=title) for name, (title, text) in DOCUMENTS.items()]
            await resources.get("ingestor").ingest(items, tenant="default", acl=(EVERYONE,))
            names: dict[str, Any] = {}
            await asyncio.to_thread(exec, compile(snippet(root), "agent-runtime.md", "exec"), names)
            graph, config = names["graph"], names["config"]
            assert "25 days" in names["state"]["messages"][-1].content
            state = await graph.ainvoke({"messages": [("user", "How is a power cut reported?")]}, config)
            assert [message.type for message in state["messages"]] == ["human", "ai", "human", "ai"]
            assert "0800 555 014" in state["messages"][-1].content
            retention = Retention(resources.get("threads"), resources.store, settings.persistence)
            assert (await retention.apply()).graph_pruned == 1
            assert [len(one.values["messages"]) async for one in graph.aget_state_history(config)] == [4, 2]
            assert (await retention.erase("default", names["ctx"]["user_id"])).runs == 1
            assert (await graph.aget_state(config)).values == {}
