"""Our vector store, retriever, embedding model and callback handler behind LlamaIndex's interfaces, used by the library's own parts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStore,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from src.core.identity import Identity, access_scope, current_identity
from src.core.search import AnyOf, Exists, Range
from src.errors import FilterError, InputError, QueryError, UnreachableError
from src.infra.config import Settings
from src.infra.resource_manager import ResourceManager, use_resources
from src.integrations.llama_index import RagCallbackHandler, RagEmbedding, RagRetriever, RagVectorStore, as_retriever
from src.integrations.llama_index.filters import filters_of
from src.telemetry.stages import collect_timings
from src.util.aio import run_sync
from tests.integration.library_parts import ANNE, BOB, OTTO, QUESTION, SECRET_QUESTION, library_resources, program_of

FACTS = [
    ("The heron nests in the reeds by the weir.", {"kind": "bird", "legs": 2, "tags": ["water", "reeds"]}),
    ("The otter fishes in the river at dusk.", {"kind": "mammal", "legs": 4, "tags": ["water"]}),
    ("The adder suns itself on the heath.", {"kind": "reptile", "legs": 0}),
    ("The wren sings from the hedge at dawn.", {"kind": "bird", "legs": 2, "tags": ["hedge"]}),
]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[ResourceManager]:
    opened = library_resources(tmp_path_factory.mktemp("llama"), model_cache)
    yield run_sync(opened.__aenter__())
    run_sync(opened.__aexit__(None, None, None))


def facts(prefix: str, resources: ResourceManager) -> list[TextNode]:
    """Four nodes of two documents, with their vectors."""
    nodes = [
        TextNode(
            id_=f"{prefix}-{place}",
            text=text,
            metadata=metadata,
            excluded_llm_metadata_keys=["legs"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"{prefix}-doc-{place % 2}")},
        )
        for place, (text, metadata) in enumerate(FACTS)
    ]
    for node, vector in zip(nodes, RagEmbedding(resources).get_text_embedding_batch([node.get_content() for node in nodes]), strict=True):
        node.embedding = vector
    return nodes


@pytest.fixture
def store(resources: ResourceManager) -> Iterator[RagVectorStore]:
    """A store of a user with nothing else in it."""
    store = RagVectorStore(resources=resources, identity=Identity("carol", "wildlife"))
    yield store
    store.clear()


def only(*filters: MetadataFilter | MetadataFilters, condition: FilterCondition = FilterCondition.AND) -> MetadataFilters:
    return MetadataFilters(filters=list(filters), condition=condition)


def field(key: str, value: Any, operator: FilterOperator = FilterOperator.EQ) -> MetadataFilter:
    return MetadataFilter(key=key, value=value, operator=operator)


def test_the_parts_are_what_the_library_asks_for(resources: ResourceManager, store: RagVectorStore) -> None:
    assert isinstance(store, BasePydanticVectorStore)
    assert isinstance(store, VectorStore)
    assert store.client is resources.search
    assert isinstance(RagEmbedding(resources), BaseEmbedding)
    assert isinstance(as_retriever(resources), BaseRetriever)
    assert "resources" not in str(store.to_dict())
    assert "carol" not in str(store.to_dict())


# The vector store


def test_it_ranks_and_filters_as_the_library_s_own_store_does(resources: ResourceManager, store: RagVectorStore) -> None:
    nodes = facts("n", resources)
    own = SimpleVectorStore()
    assert store.add(nodes) == own.add(nodes) == [node.node_id for node in nodes]
    vector = RagEmbedding(resources).get_query_embedding("Which animal lives by the water?")
    cases = [
        None,
        only(field("kind", "bird")),
        only(field("legs", 2, FilterOperator.GTE), field("legs", 4, FilterOperator.LT)),
        only(field("kind", ["bird", "reptile"], FilterOperator.IN)),
        only(field("tags", "water", FilterOperator.CONTAINS)),
        only(field("tags", ["hedge", "reeds"], FilterOperator.ANY)),
        only(field("tags", ["water", "reeds"], FilterOperator.ALL)),
        only(field("kind", "mammal"), field("kind", "reptile"), condition=FilterCondition.OR),
        only(field("tags", None, FilterOperator.IS_EMPTY)),
        only(field("kind", "fish")),
    ]
    for filters in cases:
        query = VectorStoreQuery(query_embedding=vector, similarity_top_k=3, filters=filters)
        ours, theirs = store.query(query), own.query(query)
        assert ours.ids == theirs.ids, filters
        assert ours.similarities == pytest.approx(theirs.similarities, abs=1e-4)
    by_document = VectorStoreQuery(query_embedding=vector, similarity_top_k=3, doc_ids=["n-doc-1"])
    assert store.query(by_document).ids == ["n-1", "n-3"]  # the library's own store does not look at doc_ids
    some = VectorStoreQuery(query_embedding=vector, similarity_top_k=3, node_ids=["n-2", "n-3"])
    assert store.query(some).ids == own.query(some).ids
    for nothing in ({"node_ids": ["unknown"]}, {"doc_ids": []}, {"doc_ids": ["unknown"]}):
        assert store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=3, **nothing)).ids == []


def test_a_node_comes_back_as_it_was_and_only_once(resources: ResourceManager, store: RagVectorStore) -> None:
    nodes = facts("n", resources)
    store.add(nodes)
    store.add(nodes[:1])
    changed = nodes[1].model_copy(update={"metadata": {"kind": "mustelid"}})
    store.add([changed])
    found = store.get_nodes(["n-1", "n-0", "unknown"])
    assert [node.node_id for node in found] == ["n-1", "n-0"]
    assert found[0].metadata == {"kind": "mustelid"}
    assert found[1].model_dump(exclude={"embedding"}) == nodes[0].model_dump(exclude={"embedding"})
    assert found[1].ref_doc_id == "n-doc-0"
    hit = store.query(VectorStoreQuery(query_str="heron", mode=VectorStoreQueryMode.SPARSE, similarity_top_k=9))
    assert hit.ids == ["n-0"]
    assert list(hit.nodes or ()) == [found[1]]
    assert len(store.get_nodes()) == 4


def test_what_is_deleted_is_gone_and_nothing_else(resources: ResourceManager, store: RagVectorStore) -> None:
    store.add([*facts("n", resources), *facts("m", resources)])
    store.delete("n-doc-0")
    store.delete("never-was")
    assert sorted(node.node_id for node in store.get_nodes()) == ["m-0", "m-1", "m-2", "m-3", "n-1", "n-3"]
    store.delete_nodes(["n-1", "m-0"], only(field("kind", "bird")))
    assert sorted(node.node_id for node in store.get_nodes()) == ["m-1", "m-2", "m-3", "n-1", "n-3"]
    store.delete_nodes([])
    assert len(store.get_nodes()) == 5
    with pytest.raises(QueryError, match="clear"):
        store.delete_nodes()
    store.clear()
    assert store.get_nodes() == []


async def test_words_meaning_and_both_and_the_synchronous_and_asynchronous_ways_agree(resources: ResourceManager, store: RagVectorStore) -> None:
    nodes = facts("n", resources)
    await store.async_add([node.model_copy(update={"embedding": None}) for node in nodes])  # the store embeds them itself
    for mode, alpha in ((VectorStoreQueryMode.DEFAULT, None), (VectorStoreQueryMode.TEXT_SEARCH, None), (VectorStoreQueryMode.HYBRID, 0.3)):
        query = VectorStoreQuery(query_str="otter at dusk", mode=mode, alpha=alpha, similarity_top_k=2)
        found = await store.aquery(query)
        assert found.ids is not None
        assert found.ids[0] == "n-1"
        assert (await asyncio.to_thread(store.query, query)).ids == found.ids
    assert [node.node_id for node in await store.aget_nodes(["n-2"])] == ["n-2"]
    await store.adelete("n-doc-1")
    await store.adelete_nodes(["n-0"])
    assert [node.node_id for node in await store.aget_nodes()] == ["n-2"]
    await store.aclear()
    assert await store.aget_nodes() == []


async def test_a_store_sees_what_its_identity_may_see_and_touches_only_its_own(resources: ResourceManager) -> None:
    anne, bob = (RagVectorStore(resources=resources, identity=who) for who in (ANNE, BOB))
    otto = RagVectorStore(resources=resources, identity=OTTO)
    try:
        node = TextNode(id_="same", text="Anne keeps the spare key under the flowerpot.")
        await anne.async_add([node])
        await bob.async_add([node.model_copy(update={"text_resource": None, "text": "Bob's own words on the flowerpot."})])
        query = VectorStoreQuery(query_str="flowerpot", mode=VectorStoreQueryMode.SPARSE, similarity_top_k=9)
        assert [found.get_content() for found in (await anne.aquery(query)).nodes or ()] == [node.get_content()]
        assert (await otto.aquery(query)).ids == []
        await bob.aclear()
        assert len(await anne.aget_nodes(["same"])) == 1
        shared = RagVectorStore(resources=resources, identity=ANNE, acl=("tenant:*",))
        await shared.async_add([node])
        assert (await bob.aquery(query)).ids == ["same"]
        assert await bob.aget_nodes(["same"]) == []
        await bob.adelete_nodes(["same"])
        await bob.adelete("same")
        assert (await bob.aquery(query)).ids == ["same"]
        by_meaning = VectorStoreQuery(query_str=SECRET_QUESTION, similarity_top_k=50)
        assert "hall nine" in str((await anne.aquery(by_meaning)).nodes)
        assert "hall nine" not in str((await bob.aquery(by_meaning)).nodes)
        unbound = RagVectorStore(resources=resources)
        token = current_identity.set(ANNE)
        try:
            assert "hall nine" in str((await unbound.aquery(by_meaning)).nodes)
        finally:
            current_identity.reset(token)
        assert "hall nine" not in str((await unbound.aquery(by_meaning)).nodes)
    finally:
        await anne.aclear()
    policy = await resources.search.get_document("leave.md", access_scope(ANNE))
    assert policy is not None, "what was ingested otherwise stays"


def test_what_the_index_cannot_do_is_an_error_that_says_so(resources: ResourceManager, store: RagVectorStore) -> None:
    with pytest.raises(QueryError, match="mmr"):
        store.query(VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.MMR))
    with pytest.raises(QueryError, match="384 dimensions"):
        store.query(VectorStoreQuery(query_embedding=[0.1, 0.2]))
    with pytest.raises(QueryError, match="neither a vector nor words"):
        store.query(VectorStoreQuery())
    with pytest.raises(InputError, match="384 dimensions"):
        store.add([TextNode(text="x", embedding=[1.0, 0.0])])
    with pytest.raises(InputError, match="different lengths"):
        store.add([TextNode(text="x", embedding=[1.0, 0.0]), TextNode(text="y")])
    with pytest.raises(InputError, match="ImageNode"):
        store.add([ImageNode(text="x")])
    with pytest.raises(InputError, match="'nested' in its metadata"):
        store.add([TextNode(text="x", metadata={"nested": {"a": 1}})])
    for broken in (TextNode(text="\ud800"), TextNode(text="x", metadata={"a": "\ud800"}), TextNode(id_="\ud800", text="x")):
        with pytest.raises(InputError, match="surrogate"):
            store.add([broken])
    assert store.add([]) == []
    assert store.get_nodes() == []


@pytest.mark.parametrize(
    "given",
    [
        only(field("a", 1, FilterOperator.NE)),
        only(field("a", ["x"], FilterOperator.NIN)),
        only(field("a", "x", FilterOperator.TEXT_MATCH)),
        only(field("a", 1), condition=FilterCondition.NOT),
        only(field("a", 1), field("b", 2), condition=FilterCondition.OR),
        only(field("a", 1), field("a", 2, FilterOperator.GT), condition=FilterCondition.OR),
        only(only(field("a", 1)), field("a", 2), condition=FilterCondition.OR),
        only(field("a", ["x"])),
        only(field("a", "x", FilterOperator.IN)),
        only(field("a", [], FilterOperator.IN)),
        only(field("a", None, FilterOperator.GT)),
    ],
)
def test_a_filter_that_cannot_be_said_is_refused_never_left_out(given: MetadataFilters) -> None:
    with pytest.raises(FilterError) as refused:
        filters_of(given)
    assert "joined by `and`" in refused.value.hint


def test_filters_of_the_library_become_ours() -> None:
    given = only(field("a", 1), only(field("b", "x", FilterOperator.GT)), field("c", ["p", "q"], FilterOperator.ALL), field("d", None, FilterOperator.IS_EMPTY))
    assert filters_of(given) == (AnyOf("a", (1,)), Range("b", gt="x"), AnyOf("c", ("p",)), AnyOf("c", ("q",)), Exists("d", present=False))
    assert filters_of(only(field("a", 1), field("a", ["x", "y"], FilterOperator.IN), condition=FilterCondition.OR)) == (AnyOf("a", (1, "x", "y")),)
    assert filters_of(None) == filters_of(only()) == ()


async def test_an_outage_is_an_error_never_an_empty_result() -> None:
    async with ResourceManager(Settings.model_validate({"search": {"host": "http://127.0.0.1:9", "timeout_s": 2}})) as cut_off:
        store = RagVectorStore(resources=cut_off, identity=ANNE)
        with pytest.raises(UnreachableError):
            await store.aquery(VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.SPARSE))
        with pytest.raises(UnreachableError):
            await as_retriever(cut_off, identity=ANNE, mode="bm25").aretrieve("x")


# The library's own parts over ours


def test_an_index_an_ingestion_pipeline_and_a_query_engine_work_over_the_store(resources: ResourceManager, store: RagVectorStore) -> None:
    embedding = RagEmbedding(resources)
    pipeline = IngestionPipeline(transformations=[embedding], vector_store=store)
    pipeline.run(documents=[Document(doc_id="otters", text=FACTS[1][0], metadata={"title": "Otters"})])
    index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    index.insert(Document(doc_id="herons", text=FACTS[0][0]))
    hybrid = index.as_retriever(similarity_top_k=1, vector_store_query_mode="hybrid", alpha=0.5)
    assert [found.node.ref_doc_id for found in hybrid.retrieve("Where does the heron nest?")] == ["herons"]
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1)
    answer = engine.query("What fishes at dusk?")
    assert FACTS[1][0] in str(answer), "the mock model repeats its prompt"
    assert answer.source_nodes[0].node.metadata == {"title": "Otters"}
    index.delete_ref_doc("otters")
    assert [node.ref_doc_id for node in store.get_nodes()] == ["herons"]


def test_the_retriever_has_our_policy_and_a_query_engine_answers_with_it(resources: ResourceManager) -> None:
    prompts: list[str] = []

    class Listening(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            prompts.append(prompt)
            return CompletionResponse(text="25 days.")

    retriever = RagRetriever(resources, identity=ANNE, similarity_top_k=2, filters=only(field("kind", "policy")))
    answer = RetrieverQueryEngine.from_args(retriever, llm=Listening()).query(QUESTION)
    assert str(answer) == "25 days."
    node = answer.source_nodes[0].node
    assert (node.metadata["title"], node.metadata["document_id"], node.ref_doc_id) == ("Annual leave", "leave.md", "leave.md")
    assert "title: Annual leave" in prompts[0]
    assert "sha256" not in prompts[0], "what no model needs is kept from it"


async def test_the_retriever_sees_what_its_identity_may_see(resources: ResourceManager) -> None:
    async def found(who: Identity | None) -> set[str]:
        return {hit.node.ref_doc_id or "" for hit in await as_retriever(resources, identity=who).aretrieve(SECRET_QUESTION)}

    assert "reserve.md" in await found(ANNE)
    assert await found(BOB) == await found(None) == {"leave.md", "power.md"}
    assert await found(OTTO) == {"boats.txt"}
    assert {hit.node.ref_doc_id for hit in await asyncio.to_thread(as_retriever(resources, identity=OTTO).retrieve, "boats")} == {"boats.txt"}
    with pytest.raises(QueryError):
        await as_retriever(resources, identity=ANNE).aretrieve("  ")


async def test_the_embedding_model_is_the_index_s_own(resources: ResourceManager) -> None:
    embedding = RagEmbedding(resources)
    assert embedding.model_name == resources.embedder.model
    expected = (await resources.embedder.embed(["heron", "otter"])).tolist()
    assert await embedding.aget_text_embedding_batch(["heron", "otter"]) == [pytest.approx(row, abs=1e-5) for row in expected]
    assert await embedding.aget_query_embedding("heron") == pytest.approx(expected[0], abs=1e-5)
    assert await asyncio.to_thread(embedding.get_text_embedding, "otter") == pytest.approx(expected[1], abs=1e-5)


# The callback handler


def test_events_become_stages_without_what_was_asked(resources: ResourceManager, caplog: pytest.LogCaptureFixture) -> None:
    handler = RagCallbackHandler()
    retriever = as_retriever(resources, identity=ANNE, callback_manager=CallbackManager([handler]))
    with collect_timings() as timings:
        retriever.retrieve(SECRET_QUESTION)
    assert timings["llama_index.retrieve"] > 0
    unreachable = ResourceManager(Settings.model_validate({"search": {"host": "http://127.0.0.1:9", "timeout_s": 2}}))
    with pytest.raises(UnreachableError):
        as_retriever(unreachable, identity=ANNE, mode="bm25", callback_manager=CallbackManager([handler])).retrieve("Vexillomatic")
    unreachable.close()
    assert "Vexillomatic" not in caplog.text
    handler.on_event_end(CBEventType.LLM, event_id="never begun")


def test_the_page_s_program_works(resources: ResourceManager, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with use_resources(resources):
        exec(compile(program_of(root, "LlamaIndex"), "clients.md", "exec"), {})
    said = capsys.readouterr().out
    assert "25 days" in said
    assert "shed opens at seven" in said


def test_without_the_library_the_error_names_the_extra() -> None:
    code = (
        "import sys\nsys.modules['llama_index.core'] = None\nfrom src.errors import MissingExtraError\n"
        "try:\n    import src.integrations.llama_index\nexcept MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs the extra `llama-index`" in done.stdout
    assert "Install founders-rag[llama-index]." in done.stdout
