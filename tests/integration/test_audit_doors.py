"""The ways to documents beside HTTP's own: each records what it shows and refuses, under the caller's name."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.agent.tools.fetch_document import FetchArguments, hit_of
from src.agent.tools.protocol import ToolContext
from src.agent.tools.shipped import build_fetch_document
from src.core.documents import Chunk, Document
from src.core.identity import Identity, access_scope
from src.core.retrieval import Passage
from src.errors import NotFoundError
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.integrations.mcp import documents, tools

ANN, BOB = Identity("ann"), Identity("bob")


@pytest.fixture
async def resources(tmp_path: Path) -> AsyncIterator[ResourceManager]:
    """An index with one document of ann's, and an audit trail."""
    settings = Settings.model_validate(
        {"storage": {"path": tmp_path}, "audit": {"enabled": True, "keys": f"k1:{base64.b64encode(b'k' * 32).decode()}", "anchor_log_s": 0}}
    )
    engine = EmbeddedSearch(tmp_path / "index", embedder="test", dims=2)
    document = Document(id="d", tenant="default", title="Title", source="s", content_type="text/plain", content_hash="h", acl=("user:ann",), metadata={})
    chunk = Chunk(id="c", document_id="d", tenant="default", text="Secretword stands here.", position=0)
    await engine.write([DocumentWrite(document, (chunk,), np.ones((1, 2), np.float32))])
    manager = ResourceManager(settings, overrides={"search": engine})
    yield manager
    await manager.aclose()
    await engine.aclose()


async def recorded(resources: ResourceManager, tmp_path: Path) -> list[tuple[Any, ...]]:
    text = (tmp_path / "audit" / "audit.jsonl").read_text()
    assert "Secretword" not in text
    return [(row["action"], row["outcome"], row["user"], row.get("documents")) for row in map(json.loads, text.splitlines())]


async def test_mcp_records_what_it_fetches_lists_and_refuses(resources: ResourceManager, tmp_path: Path) -> None:
    await tools.fetch(resources, ANN, {"document_id": "d"})
    with pytest.raises(NotFoundError):
        await tools.fetch(resources, BOB, {"document_id": "d"})
    await documents.read_document(resources, ANN, documents.uri_of("d"))
    await documents.list_documents(resources, BOB, None)
    assert await recorded(resources, tmp_path) == [
        ("document.read", "allowed", "ann", ["d"]),
        ("document.read", "refused", "bob", ["d"]),
        ("document.read", "allowed", "ann", ["d"]),
        ("document.list", "allowed", "bob", None),
    ]


async def test_a_tool_of_the_agent_records_what_it_lets_the_model_read(resources: ResourceManager, tmp_path: Path) -> None:
    (chunk,) = await resources.search.get_chunks("d", access_scope(ANN))
    document = await resources.search.get_document("d", access_scope(ANN))
    assert document is not None
    context = ToolContext(ANN, access_scope(ANN), "t", passages=(Passage(n=1, hit=hit_of(document, chunk)),))
    found = await build_fetch_document(resources).run(FetchArguments(passage=1), context)
    assert [hit.chunk_id for hit in found.hits] == ["c"]
    assert await recorded(resources, tmp_path) == [("document.read", "allowed", "ann", ["d"])]
