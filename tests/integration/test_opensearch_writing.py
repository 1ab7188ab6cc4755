"""Writing, replacing, deleting and reading whole documents on a real OpenSearch, several writers at once among it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from src.core.documents import Chunk, Document
from src.core.identity import EVERYONE, AccessScope, system_scope
from src.core.search import AnyOf, Exists, Range
from src.errors import IndexMissingError, WriteBlockedError
from src.infra.search.opensearch import records
from src.infra.search.opensearch.reading.stored import multi_get, read_records
from src.infra.search.opensearch.versions.healing import block_writes
from src.infra.search.opensearch.writing.bulk import Action, Bulk
from src.infra.search.protocol import DocumentWrite
from tests.contract.search.builders import DIMS, MEMBER, SYSTEM, write
from tests.integration.opensearch_store import Store, everything
from tests.servers.opensearch.cluster import Cluster


@pytest.fixture
async def store(opensearch: Cluster, index_prefix: str) -> AsyncIterator[Store]:
    made = Store.at(opensearch.url, f"{index_prefix}docs")
    yield made
    await made.transport.aclose()


ODD = [
    write(
        "/data/caf\udce9.txt",
        ["lone \ud800 surrogate", "a NUL \x00 inside"],
        title="caf\udce9",
        metadata={"k\udce9": "v\udce9", "": "", "a.b": ("x", True, 1.0)},
    ),
    write("big", ["numbers"], metadata={"huge": 2**70, "edge": -(2**63), "more": 2**64 - 1, "tiny": 5e-324, "zero": -0.0, "third": 1 / 3, "inf": float("inf")}),
    write("unspaced", ["東京都の電力メーター", "ประเทศไทย", "ﬁve ½ Ⅷ"], title="電力", sections=["安全 > はしご", "", "x"]),
    write("empty", []),
    write("x" * 600 + "/../ä", ["long id"]),
    write("quotes", ['"\\ \u2028 \u0085 \r\n\t', "</script>", " " * 50]),
]


async def test_every_document_and_chunk_comes_back_byte_for_byte(store: Store) -> None:
    await store.writer.write(ODD)
    for item in ODD:
        assert await store.documents.get_document(item.document.id, MEMBER) == item.document
        assert await store.documents.get_chunks(item.document.id, MEMBER) == item.chunks
    exported = {found.document.id: found async for found in store.documents.export(SYSTEM)}
    assert set(exported) == {item.document.id for item in ODD}
    for item in ODD:
        found = exported[item.document.id]
        assert (found.document, found.chunks) == (item.document, item.chunks)
        assert found.vectors.tobytes() == item.vectors.tobytes()
    assert repr((await store.documents.get_document("big", MEMBER)).metadata["zero"]) == "-0.0"
    assert await store.torn() == []


async def test_vectors_of_every_size_come_back_bit_for_bit_zeros_and_vanishing_ones_too(store: Store) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, DIMS)) * 10.0 ** rng.integers(-30, 1, size=(40, DIMS))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[0], vectors[1] = 0.0, 1e-30
    item = write("d", [f"text {number}" for number in range(40)])
    await store.writer.write([DocumentWrite(item.document, item.chunks, vectors)])
    (found,) = [one async for one in store.documents.export(SYSTEM)]
    assert found.vectors.tobytes() == vectors.tobytes()
    info = await store.documents.info()
    assert (info.chunks, info.views) == (40, {"lexical": 40, "vector": 38})


async def test_writing_again_replaces_and_shortens_and_the_unchanged_costs_one_request(store: Store) -> None:
    await store.writer.write([write("d", [f"old {number}" for number in range(7)]), write("e", ["other"])])
    await store.writer.write([write("d", ["new"]), write("e", ["other"])])
    assert [chunk.text for chunk in await store.documents.get_chunks("d", MEMBER)] == ["new"]
    before = (await read_records(store.transport, store.alias, [records.doc_key("default", "e")])).popitem()[1]
    await store.writer.write([write("e", ["other"]), write("e", ["other"])])
    after = (await read_records(store.transport, store.alias, [before.key])).popitem()[1]
    assert after.seq_no == before.seq_no
    info = await store.documents.info()
    assert (info.documents, info.chunks, info.views) == (2, 2, {"lexical": 2, "vector": 2})
    assert await store.torn() == []


async def test_deleting_takes_what_the_scope_may_see_and_counts_it(store: Store) -> None:
    everyone_of_b = AccessScope("b", frozenset({EVERYONE}))
    await store.writer.write([write("d1", ["a", "b"]), write("d2", ["b"], acl=["user:bob"]), write("d3", ["c"]), write("d1", ["theirs"], tenant="b")])
    assert await store.writer.delete(["d1", "d1", "d2", "nowhere"], MEMBER) == 1
    assert await store.documents.get_document("d1", everyone_of_b) is not None
    await store.writer.write([write("d1", ["again"])])
    assert await store.writer.delete(["d1"], system_scope()) == 2
    assert (await store.documents.info()).documents == 2
    assert await store.torn() == []


async def test_a_system_scope_reads_a_document_of_any_tenant_as_soon_as_it_is_written(store: Store) -> None:
    await store.writer.write([write("d", ["theirs"], tenant="b\udce9"), write("d", ["others"], tenant="c"), write("da", ["no"], tenant="b")])
    found = await store.documents.get_document("d", SYSTEM)
    assert found is not None
    assert found.tenant == "c"
    assert await store.documents.get_document("nowhere", SYSTEM) is None


async def test_lists_go_by_id_with_filters_on_documents_and_chunks(store: Store) -> None:
    ids = [f"d{number:02d}" for number in range(30)] + ["ä", "\uffff", "\U0001f600", "d\x00", "d", "D"]
    await store.writer.write(
        [write(key, ["x", "y"], metadata={"even": at % 2 == 0}, pages=[at, 7], sections=["s" if at % 3 else "", "t"]) for at, key in enumerate(ids)]
    )
    await store.settle()
    found, cursor = [], None
    while True:
        page = await store.documents.list_documents(MEMBER, limit=7, cursor=cursor)
        found += [document.id for document in page.documents]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == sorted(ids)
    both = [AnyOf("page", (5,)), AnyOf("section", ("s",))]
    assert [document.id for document in (await store.documents.list_documents(MEMBER, filters=both)).documents] == ["d05"]
    apart = [AnyOf("page", (7,)), AnyOf("section", ("s",))]
    assert [document.id for document in (await store.documents.list_documents(MEMBER, filters=apart)).documents] == ["d07"]
    # d21 has its page on a chunk without a section.
    odd = [AnyOf("even", (False,)), Range("page", gte=20, lt=24), Exists("section")]
    assert [document.id for document in (await store.documents.list_documents(MEMBER, filters=odd)).documents] == ["d23"]
    assert await store.documents.count(MEMBER, filters=[AnyOf("even", (True,))]) == len(ids)


async def test_an_export_goes_on_behind_a_document_and_survives_the_end_of_its_point_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.infra.search.opensearch.reading.scan.PAGE", 10)
    await store.writer.write([write(f"d{number:02d}", [f"text {at}" for at in range(number % 4)]) for number in range(45)])
    found = []
    async for item in store.documents.export(SYSTEM):
        found.append(item.document.id)
        if len(found) == 15:
            await store.transport.perform("DELETE", "/_search/point_in_time/_all")
    assert found == [f"d{number:02d}" for number in range(45)]
    rest = [item.document.id async for item in store.documents.export(SYSTEM, after=("d40", "default"))]
    assert rest == ["d41", "d42", "d43", "d44"]


async def test_a_poison_item_among_1200_is_reported_and_the_rest_goes_on(store: Store) -> None:
    await store.indices.ensure()
    item = write("d", [f"chunk {at}" for at in range(1200)])
    entries = list(records.chunk_entries(item, item.vectors, "r"))
    entries[700]["nowhere"] = 1
    entries[800]["position"] = object()
    report = await Bulk(store.transport, store.cfg, store.alias).run(Action(f"d-{at}", entry) for at, entry in enumerate(entries))
    assert (report.done, {error.item_id: error.reason for error in report.failed}) == (
        1198,
        {"d-700": "strict_dynamic_mapping_exception", "d-800": "unwritable"},
    )
    await store.settle()
    assert len(await everything(store.transport, store.alias)) == 1198


async def test_bulk_never_makes_an_index_by_itself(store: Store) -> None:
    with pytest.raises(IndexMissingError):
        await Bulk(store.transport, store.cfg, store.alias).run([Action("a", {"kind": "chunk"})])
    assert await store.transport.perform("GET", f"/_cat/indices/{store.alias}*", params={"format": "json"}) == []


# -- what a killed writer leaves


async def leave_pending(store: Store, item: DocumentWrite, *, chunks: int) -> None:
    """What a writer leaves that was killed after so many chunks of the document."""
    (known,) = (await read_records(store.transport, store.alias, [records.doc_key(item.document.tenant, item.document.id)])).values() or (None,)
    places = max(len(item.chunks), known.places if known else 0)
    entry = records.pending_entry(known.source, places, "dead") if known else records.intent_entry(item.document, pending=places, writer="dead")
    fences: list[int] = []
    key = records.doc_key(item.document.tenant, item.document.id)
    bulk = Bulk(store.transport, store.cfg, store.alias)
    await bulk.run([Action(key, entry)], on_item=lambda _, taken: fences.append(taken["_seq_no"]))
    entries = list(records.chunk_entries(item, item.vectors, "half"))[:chunks]
    await bulk.run([Action(records.chunk_key(key, at), entry, version=fences[0] + 1) for at, entry in enumerate(entries)])


async def test_a_document_that_was_never_acknowledged_is_none_and_the_next_write_makes_it_good(store: Store) -> None:
    await store.indices.ensure()
    await leave_pending(store, write("d", ["a", "b", "c"]), chunks=2)
    await store.settle()
    assert await store.documents.get_document("d", SYSTEM) is None
    assert await store.documents.get_chunks("d", MEMBER) == ()
    assert (await store.documents.list_documents(SYSTEM)).documents == ()
    assert await store.documents.content_hashes(["d"], "default") == {}
    assert (await store.documents.info()).documents == 0
    await store.writer.write([write("d", ["a"])])
    assert [chunk.text for chunk in await store.documents.get_chunks("d", MEMBER)] == ["a"]
    assert await store.torn() == []


async def test_a_half_replaced_document_is_still_there_is_not_known_and_the_next_write_makes_it_good(store: Store) -> None:
    old = write("d", ["old a", "old b"])
    await store.writer.write([old])
    await leave_pending(store, write("d", ["new a", "new b", "new c", "new d"]), chunks=3)
    await store.settle()
    assert await store.documents.get_document("d", MEMBER) == old.document
    assert await store.documents.content_hashes(["d"], "default") == {}
    (left,) = [item async for item in store.documents.export(SYSTEM)]
    assert left.document.content_hash == ""
    await store.writer.write([old])
    assert await store.documents.get_chunks("d", MEMBER) == old.chunks
    assert await store.torn() == []


async def test_deleting_takes_what_a_killed_writer_left(store: Store) -> None:
    await store.writer.write([write("d", ["old"])])
    await leave_pending(store, write("d", ["a", "b", "c"]), chunks=3)
    await leave_pending(store, write("never", ["a", "b"]), chunks=2)
    assert await store.writer.delete(["d", "never"], MEMBER) == 1
    await store.settle()
    assert await everything(store.transport, store.alias) == {}


async def test_chunks_of_a_writer_that_was_overtaken_never_replace_newer_ones(store: Store) -> None:
    await store.writer.write([write("d", ["new a", "new b"])])
    late = write("d", ["late a", "late b"])
    key = records.doc_key("default", "d")
    entries = [Action(records.chunk_key(key, at), entry, version=0) for at, entry in enumerate(records.chunk_entries(late, late.vectors, "late"))]
    report = await Bulk(store.transport, store.cfg, store.alias).run(entries)
    assert (report.done, [error.status for error in report.failed]) == (0, [409, 409])
    assert [chunk.text for chunk in await store.documents.get_chunks("d", MEMBER)] == ["new a", "new b"]


# -- several writers


async def test_two_writers_on_the_same_documents_leave_no_mixed_one(store: Store, opensearch: Cluster) -> None:
    other = Store.at(opensearch.url, store.alias)

    async def keep_writing(one: Store, name: str, rounds: int) -> None:
        for turn in range(rounds):
            await one.writer.write([write(f"d{number}", [f"{name} {turn} {at}" for at in range(1 + (number + turn) % 5)]) for number in range(8)])

    try:
        await asyncio.gather(keep_writing(store, "one", 6), keep_writing(other, "two", 6))
        assert await store.torn() == []
        for number in range(8):
            texts = [chunk.text.rsplit(" ", 1)[0] for chunk in await store.documents.get_chunks(f"d{number}", MEMBER)]
            assert set(texts) <= {"one 5"} or set(texts) <= {"two 5"}
    finally:
        await other.transport.aclose()


async def test_a_writer_and_a_deleter_leave_all_of_a_document_or_nothing(store: Store, opensearch: Cluster) -> None:
    other = Store.at(opensearch.url, store.alias)
    await store.indices.ensure()

    async def keep_deleting() -> None:
        for _ in range(12):
            await other.writer.delete([f"d{number}" for number in range(6)], MEMBER)

    async def keep_writing() -> None:
        for turn in range(6):
            await store.writer.write([write(f"d{number}", [f"{turn} {at}" for at in range(1 + (number + turn) % 5)]) for number in range(6)])

    try:
        await asyncio.gather(keep_writing(), keep_deleting())
        assert await store.torn() == []
    finally:
        await other.transport.aclose()


async def test_two_processes_on_the_same_documents_leave_no_mixed_one(store: Store, opensearch: Cluster, root: Path) -> None:
    await store.indices.ensure()
    command = [sys.executable, "-m", "tests.integration.opensearch_writer", opensearch.url, store.alias]
    writers = [
        subprocess.Popen([*command, json.dumps({"name": name, "rounds": 5, "documents": 8})], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    said = await asyncio.gather(*(asyncio.to_thread(writer.communicate) for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert await store.torn() == []


# -- a blocked index


async def test_a_write_that_meets_a_switch_goes_to_the_new_index(store: Store) -> None:
    await store.writer.write([write("d", ["old"])])
    (version,) = (await store.indices.family()).current
    await block_writes(store.transport, version)
    writing = asyncio.create_task(store.writer.write([write("d", ["a", "b"]), write("e", ["c"])]))
    await asyncio.sleep(0.3)
    assert not writing.done()
    new = f"{store.alias}-000002"
    assert await store.indices.put(new, store.indices.body())
    actions = [{"add": {"index": new, "alias": store.alias}}, {"remove": {"index": version.name, "alias": store.alias}}]
    await store.transport.perform("POST", "/_aliases", body={"actions": actions})
    await writing
    await store.settle()
    found = await multi_get(store.transport, new, [records.doc_key("default", name) for name in ("d", "e")])
    assert len(found) == 2
    assert await store.torn() == []


async def test_a_block_that_nobody_announced_is_an_error_at_once(store: Store) -> None:
    await store.writer.write([write("d", ["old"])])
    await store.transport.perform("PUT", f"/{store.alias}-000001/_block/write")
    with pytest.raises(WriteBlockedError):
        await store.writer.write([write("d", ["new"])])


def chunked(document_id: str, count: int) -> DocumentWrite:
    document = Document(document_id, "default", "t", "s", "text/plain", "h", (EVERYONE,))
    chunks = tuple(Chunk(f"{document_id}-{at}", document_id, "default", at, f"text {at}") for at in range(count))
    return DocumentWrite(document, chunks, np.eye(DIMS, dtype=np.float32)[np.arange(count) % DIMS])


async def test_a_document_of_thousands_of_chunks_is_written_and_read_whole(store: Store) -> None:
    item = chunked("long", 2500)
    await store.writer.write([item, chunked("short", 1)])
    assert await store.documents.get_chunks("long", MEMBER) == item.chunks
    exported = [found async for found in store.documents.export(SYSTEM)]
    assert [len(found.chunks) for found in exported] == [2500, 1]
    assert exported[0].vectors.tobytes() == item.vectors.tobytes()
