"""What others own on the cluster stays theirs: their indices, their blocks; and what an index must be like to be used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from src.errors import ConflictError, IndexMismatchError, IndexMissingError, MappingConflictError, WriteBlockedError
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.versions.lifecycle import Lifecycle
from src.infra.search.opensearch.versions.listing import list_rows
from src.infra.search.opensearch.versions.reindex import Reindexer
from src.infra.search.opensearch.versions.state import STATE, Work
from tests.integration.opensearch_reindexer import make
from tests.servers.opensearch.cluster import Cluster


@pytest.fixture
async def indices(opensearch: Cluster, index_prefix: str) -> AsyncIterator[Indices]:
    made = make(opensearch.url, f"{index_prefix}logs", size="small")
    made._ttl_s = 0
    yield made
    await made.transport.aclose()


@pytest.fixture
async def lifecycle(indices: Indices) -> Lifecycle:
    return Lifecycle(indices)


@pytest.fixture
def foreign(opensearch: Cluster, indices: Indices) -> str:
    """Another program's index, with a name as its rollovers give it."""
    name = f"{indices.alias}-000001"
    opensearch.ask("PUT", name, {"mappings": {"properties": {"line": {"type": "text"}}}})
    opensearch.ask("PUT", f"{name}/_doc/1?refresh=true", {"line": "theirs"})
    return name


def untouched(cluster: Cluster, name: str, *aliases: str) -> bool:
    found = cluster.ask("GET", name)[name]
    documents = cluster.ask("GET", f"{name}/_search")["hits"]["hits"]
    return "_meta" not in found["mappings"] and set(found["aliases"]) == set(aliases) and [hit["_source"] for hit in documents] == [{"line": "theirs"}]


# -- indices of others


@pytest.mark.parametrize("force", [False, True])
async def test_an_index_of_others_is_neither_deleted_nor_switched_to(opensearch: Cluster, lifecycle: Lifecycle, foreign: str, force: bool) -> None:
    for call in (lifecycle.delete, lifecycle.switch):
        for wanted in (foreign, "1"):
            with pytest.raises(IndexMismatchError, match="not made by this program; nothing of it is touched"):
                await call(wanted, force=force)
    assert untouched(opensearch, foreign)


async def test_no_hint_leads_to_an_index_of_others(indices: Indices, foreign: str) -> None:
    with pytest.raises(IndexMissingError) as caught:
        await indices.current()
    assert foreign not in str(caught.value)


async def test_versions_are_numbered_past_an_index_of_others(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle, foreign: str) -> None:
    assert (await indices.ensure()).number == 2
    await lifecycle.create()
    rows = await list_rows(indices)
    assert [(row.number, row.state, row.documents) for row in rows] == [(1, "foreign", 0), (2, "in use", 0), (3, "kept", 0)]
    assert await lifecycle.switch("3") == (rows[1].name, rows[2].name)
    assert await lifecycle.rollback() == (rows[2].name, rows[1].name)
    assert untouched(opensearch, foreign)


async def test_an_alias_that_serves_others_is_not_taken_from_them(opensearch: Cluster, indices: Indices, lifecycle: Lifecycle, foreign: str) -> None:
    await indices.ensure()
    opensearch.ask("POST", "_aliases", {"actions": [{"remove": {"index": f"{indices.alias}-000002", "alias": indices.alias}}]})
    opensearch.ask("POST", "_aliases", {"actions": [{"add": {"index": foreign, "alias": indices.alias}}]})
    for call in (lambda: lifecycle.begin("rebuild"), lambda: Reindexer(indices).run(), lambda: lifecycle.switch("2"), indices.ensure):
        with pytest.raises(IndexMismatchError, match=f"{foreign} was not made by this program"):
            await call()
    with pytest.raises(IndexMismatchError):
        await lifecycle.delete(foreign, force=True)
    assert untouched(opensearch, foreign, indices.alias)
    assert await lifecycle.switch("2", force=True) == (foreign, f"{indices.alias}-000002")
    assert untouched(opensearch, foreign)


# -- blocks of others


async def test_a_block_that_an_operator_set_is_kept_and_no_reindex_begins(opensearch: Cluster, indices: Indices) -> None:
    name = (await indices.ensure()).name
    opensearch.ask("PUT", f"{name}/_block/write")
    with pytest.raises(WriteBlockedError, match=rf"{name} takes no writes.*index\.blocks\.write"):
        await Reindexer(indices).run()
    (version,) = (await indices.family()).versions
    assert version.blocked_by_others


async def test_a_block_that_an_operator_sets_while_a_reindex_fills_is_kept(opensearch: Cluster, indices: Indices) -> None:
    name = (await indices.ensure()).name
    told: list[str] = []

    def block(progress: Any) -> None:
        if not told:
            opensearch.ask("PUT", f"{name}/_block/write")
        told.append(progress.phase)

    with pytest.raises(WriteBlockedError):
        await Reindexer(indices, block).run()
    family = await indices.family()
    assert family.versions[0].blocked_by_others
    assert [version.name for version in family.current] == [name]
    opensearch.ask("PUT", f"{name}/_settings", {"index.blocks.write": None})
    assert (await Reindexer(indices).run()).resumed


# -- what an index must be like


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda body: body["mappings"]["properties"]["body"].update(analyzer="standard"), "body has analyzer standard, not rag_body"),
        (lambda body: body["mappings"].update(dynamic="true"), "dynamic is true, not strict"),
        (lambda body: body["settings"]["index"].pop("max_result_window"), "max_result_window is 10000, not 100000"),
        (lambda body: body["mappings"].pop("_source"), "_source does not exclude context, shown"),
    ],
)
async def test_an_index_that_reads_or_writes_otherwise_is_refused_and_a_reindex_puts_it_right(
    opensearch: Cluster, indices: Indices, change: Change, problem: str
) -> None:
    body = indices.body(indices.alias)
    change(body)
    opensearch.ask("PUT", f"{indices.alias}-000001", body)
    with pytest.raises(MappingConflictError, match=rf"{problem}.*rag index reindex"):
        await indices.current()
    await Reindexer(indices).run()
    indices.forget()
    assert (await indices.current()).number == 2


async def test_an_index_that_does_not_keep_its_vectors_is_built_anew_and_never_reindexed(opensearch: Cluster, indices: Indices) -> None:
    body = indices.body(indices.alias)
    body["mappings"]["_source"]["excludes"].append("vector")
    opensearch.ask("PUT", f"{indices.alias}-000001", body)
    for call in (indices.current, Reindexer(indices).run):
        with pytest.raises(IndexMismatchError, match=r"does not keep vector in its _source.*rag ingest --rebuild") as caught:
            await call()
        assert not isinstance(caught.value, MappingConflictError)


# -- what was never finished


@pytest.mark.parametrize(
    ("work", "command"),
    [("copy", "rag index copy --from"), ("reindex", "rag index reindex"), ("rebuild", "rag ingest --rebuild"), ("create", "rag index create")],
)
async def test_an_unfinished_version_names_the_command_that_began_it(
    opensearch: Cluster, indices: Indices, lifecycle: Lifecycle, work: Work, command: str
) -> None:
    building = await lifecycle.begin(work)
    with pytest.raises(ConflictError, match="is building"):
        await lifecycle.switch("1")
    await lifecycle.release(building)
    with pytest.raises(ConflictError, match=rf"never finished \({work}\)\. `{command}"):
        await lifecycle.switch("1", force=True)
    assert opensearch.ask("GET", building.name)[building.name]["mappings"]["_meta"][STATE]["building"]["work"] == work
