"""The LlamaIndex vector store over OpenSearch: what was added is found, changed and deleted at once, as over the embedded engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters, VectorStoreQuery, VectorStoreQueryMode

from src.core.identity import Identity
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager
from src.integrations.llama_index import RagVectorStore

TEXTS = ("The heron nests in the reeds by the weir.", "The otter fishes in the river at dusk.", "The wren sings from the hedge at dawn.")


async def test_what_is_added_is_found_and_what_is_deleted_is_not(opensearch: Any, index_prefix: str, tmp_path: Path, model_cache: Path) -> None:
    settings = Settings.model_validate(
        {
            "storage": {"path": tmp_path},
            "cache": {"path": model_cache},
            "search": {"host": opensearch.url, "index_alias": f"{index_prefix}llama", "replicas": 0},
        }
    )
    nodes = [
        TextNode(id_=f"n-{at}", text=text, metadata={"legs": 2 + at}, relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{at % 2}")})
        for at, text in enumerate(TEXTS)
    ]
    async with ResourceManager(settings) as resources:
        store = RagVectorStore(resources=resources, identity=Identity("carol"))
        other = RagVectorStore(resources=resources, identity=Identity("bob"))
        await store.async_add(nodes)
        for mode in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID):
            query = VectorStoreQuery(query_str="otter fishes at dusk", mode=mode, similarity_top_k=3)
            found = await store.aquery(query)
            assert found.ids is not None
            assert found.ids[0] == "n-1"
            assert (await other.aquery(query)).ids == []
        few = MetadataFilters(filters=[MetadataFilter(key="legs", value=3, operator=FilterOperator.GTE)])
        assert sorted(node.node_id for node in await store.aget_nodes(filters=few)) == ["n-1", "n-2"]
        (restored,) = await store.aget_nodes(["n-2"])
        assert restored.model_dump() == nodes[2].model_dump()
        await store.async_add([nodes[1].model_copy(update={"metadata": {"legs": 4}})])
        assert [node.metadata for node in await store.aget_nodes(["n-1"])] == [{"legs": 4}]
        await store.adelete("doc-0")
        assert [node.node_id for node in await store.aget_nodes()] == ["n-1"]
        await store.aclear()
        assert await store.aget_nodes() == []
