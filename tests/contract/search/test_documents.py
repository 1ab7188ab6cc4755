"""Writing, replacing, deleting and reading whole documents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from src.core.identity import EVERYONE, AccessScope
from src.core.search import AnyOf, SearchRequest
from src.errors import IndexMismatchError, InputError, QueryError, ResourceClosedError
from src.infra.search.protocol import DocumentWrite, SearchClient

from .builders import DIMS, MEMBER, SYSTEM, vector_of, write
from .conftest import Engine


def bm25(query: str, **more: object) -> SearchRequest:
    return dataclasses.replace(SearchRequest(query, mode="bm25"), **more)


async def found(client: SearchClient, query: str, scope: AccessScope = MEMBER) -> list[str]:
    return sorted(hit.text for hit in (await client.search(bm25(query), scope)).hits)


async def test_an_index_that_was_never_written_is_empty_not_an_error(client: SearchClient) -> None:
    for mode in ("bm25", "knn", "hybrid"):
        result = await client.search(SearchRequest("meter", mode=mode, vector=vector_of("meter")), MEMBER)
        assert result.hits == ()
        assert result.next_cursor is None
    info = await client.info()
    assert (info.documents, info.chunks, info.views) == (0, 0, {"lexical": 0, "vector": 0})
    assert await client.count(MEMBER) == 0
    assert await client.get_document("d", MEMBER) is None
    assert await client.delete(["d"], SYSTEM) == 0


async def test_a_document_comes_back_as_it_was_written(client: SearchClient) -> None:
    metadata = {"year": 2024, "ratio": 0.5, "draft": False, "tags": ("safety", 7), "name": "Größe"}
    item = write("d1", ["The ladder.", "The meter."], title="Ladders", metadata=metadata, pages=[1, 2], sections=["Safety > Ladders", ""])
    await client.write([item])
    assert await client.get_document("d1", MEMBER) == item.document
    assert await client.get_chunks("d1", MEMBER) == item.chunks
    (hit,) = (await client.search(bm25("meter"), MEMBER)).hits
    assert (hit.chunk_id, hit.title, hit.text, hit.source, hit.page, hit.section) == (item.chunks[1].id, "Ladders", "The meter.", "/files/d1", 2, "")
    assert (hit.position, hit.start, hit.end, dict(hit.metadata)) == (1, 100, 110, metadata)


async def test_text_that_is_not_unicode_is_kept_byte_for_byte(client: SearchClient) -> None:
    item = write("/data/caf\udce9.txt", ["lone \ud800 surrogate", "a NUL \x00 inside"], title="caf\udce9", metadata={"k\udce9": "v\udce9"})
    await client.write([item])
    assert await client.get_document("/data/caf\udce9.txt", MEMBER) == item.document
    assert await client.get_chunks("/data/caf\udce9.txt", MEMBER) == item.chunks
    assert await found(client, "surrogate") == ["lone \ud800 surrogate"]
    assert await client.count(MEMBER, filters=[AnyOf("k\udce9", ("v\udce9",))]) == 2


async def test_writing_a_document_again_replaces_its_chunks_everywhere(client: SearchClient) -> None:
    await client.write([write("d1", ["old ladder", "old meter", "old storm"]), write("d2", ["other"])])
    assert len(await found(client, "old")) == 3
    await client.write([write("d1", ["new ladder"])])
    assert await found(client, "old ladder meter storm") == ["new ladder"]
    knn = await client.search(SearchRequest("x", mode="knn", vector=vector_of("old meter")), MEMBER)
    assert sorted(hit.text for hit in knn.hits) == ["new ladder", "other"]
    info = await client.info()
    assert (info.documents, info.chunks, info.views) == (2, 2, {"lexical": 2, "vector": 2})


async def test_writing_the_same_twice_changes_nothing(client: SearchClient) -> None:
    item = write("d1", ["ladder", "meter"])
    await client.write([item, item])
    first = await client.search(bm25("ladder"), MEMBER)
    await client.write([item])
    second = await client.search(bm25("ladder"), MEMBER)
    assert first.hits == second.hits
    assert (await client.info()).chunks == 2


async def test_changed_access_or_metadata_counts_although_the_chunks_stay(client: SearchClient) -> None:
    item = write("d1", ["ladder"], metadata={"year": 1})
    await client.write([item])
    await client.write([write("d1", ["ladder"], acl=["user:bob"], metadata={"year": 2})])
    bob = AccessScope("default", frozenset({"user:bob"}))
    assert await found(client, "ladder") == []
    assert await found(client, "ladder", bob) == ["ladder"]
    assert await client.count(bob, filters=[AnyOf("year", (2,))]) == 1


async def test_a_document_without_chunks_is_known_and_lists(client: SearchClient) -> None:
    await client.write([write("empty", [])])
    assert (await client.info()).documents == 1
    assert [document.id for document in (await client.list_documents(MEMBER)).documents] == ["empty"]
    await client.write([write("empty", ["now it has text"])])
    assert await found(client, "text") == ["now it has text"]


async def test_tenants_may_use_the_same_document_id(client: SearchClient) -> None:
    await client.write([write("d1", ["ours"], tenant="a"), write("d1", ["theirs"], tenant="b")])
    a, b = (AccessScope(tenant, frozenset({EVERYONE})) for tenant in "ab")
    assert await found(client, "ours theirs", a) == ["ours"]
    assert await found(client, "ours theirs", b) == ["theirs"]
    assert await client.delete(["d1"], a) == 1
    assert await found(client, "ours theirs", SYSTEM) == ["theirs"]


async def test_nobody_sees_a_chunk_with_an_empty_access_list(client: SearchClient) -> None:
    await client.write([write("d1", ["secret"], acl=[])])
    assert await found(client, "secret") == []
    assert await client.get_document("d1", MEMBER) is None
    assert await client.get_chunks("d1", MEMBER) == ()
    assert await client.delete(["d1"], MEMBER) == 0
    assert await found(client, "secret", SYSTEM) == ["secret"]


async def test_access_terms_do_not_run_into_each_other(client: SearchClient) -> None:
    long = "user:" + "x" * 5000
    await client.write([write("d1", ["one"], tenant="a\x1fb", acl=["c"]), write("d2", ["two"], tenant="t", acl=[long + "1"])])
    assert await found(client, "one", AccessScope("a", frozenset({"b\x1fc"}))) == []
    assert await found(client, "two", AccessScope("t", frozenset({long + "2"}))) == []
    assert await found(client, "two", AccessScope("t", frozenset({long + "1"}))) == ["two"]


async def test_a_scope_of_very_many_principals_is_served(client: SearchClient) -> None:
    await client.write([write("d1", ["one"], acl=["group:69999"]), write("d2", ["two"], acl=["group:70000"])])
    scope = AccessScope(MEMBER.tenant, frozenset(f"group:{at}" for at in range(70_000)))
    assert await found(client, "one two", scope) == ["one"]


async def test_deleting_counts_only_what_the_scope_may_see(client: SearchClient) -> None:
    await client.write([write("d1", ["a"]), write("d2", ["b"], acl=["user:bob"]), write("d3", ["c"])])
    assert await client.delete(["d1", "d1", "d2", "nowhere"], MEMBER) == 1
    info = await client.info()
    assert (info.documents, info.views) == (2, {"lexical": 2, "vector": 2})


async def test_content_hashes_name_what_is_known_in_the_tenant(client: SearchClient) -> None:
    await client.write([write("d1", ["a"], content_hash="h1"), write("d2", ["b"], tenant="other", content_hash="h2")])
    assert await client.content_hashes(["d1", "d2", "d3"], "default") == {"d1": "h1"}


async def test_listing_goes_by_id_and_its_cursor_belongs_to_its_request(client: SearchClient) -> None:
    await client.write([write(f"d{number}", ["x"], metadata={"even": number % 2 == 0}) for number in range(9)])
    first = await client.list_documents(MEMBER, limit=2, filters=[AnyOf("even", (True,))])
    assert [document.id for document in first.documents] == ["d0", "d2"]
    with pytest.raises(QueryError):
        await client.list_documents(MEMBER, limit=2, cursor=first.next_cursor)
    with pytest.raises(QueryError):
        await client.list_documents(MEMBER, limit=0)


@pytest.mark.parametrize("vectors", [np.zeros((1, DIMS + 1), np.float32), np.zeros((2, DIMS), np.float32), np.full((1, DIMS), np.nan, np.float32)])
async def test_vectors_that_do_not_fit_are_refused_and_nothing_is_stored(client: SearchClient, vectors: np.ndarray) -> None:
    good = write("d0", ["fine"])
    bad = write("d1", ["text"])
    with pytest.raises(InputError):
        await client.write([good, DocumentWrite(bad.document, bad.chunks, vectors)])
    assert (await client.info()).documents == 0


async def test_another_embedder_is_refused_until_the_index_is_made_anew(engine: Engine) -> None:
    first = engine.open()
    await first.write([write("d1", ["x"])])
    await first.aclose()
    other = engine.open(embedder="other-model/2", dims=8)
    with pytest.raises(IndexMismatchError, match=r"test-model/1.*other-model/2"):
        await other.count(MEMBER)
    with pytest.raises(IndexMismatchError, match="rag ingest --rebuild"):
        await other.info()
    with pytest.raises(IndexMismatchError):
        await other.search(bm25("x"), MEMBER)
    item = write("d2", ["y"])
    replacement = DocumentWrite(item.document, item.chunks, np.ones((1, 8), np.float32))
    with pytest.raises(IndexMismatchError):
        await other.write([replacement])
    await other.reset()
    await other.write([replacement])
    info = await other.info()
    assert (info.embedder, info.documents, info.views) == ("other-model/2", 1, {"lexical": 1, "vector": 1})
    await other.aclose()


async def test_everything_is_there_after_reopening(engine: Engine) -> None:
    client = engine.open()
    await client.write([write(f"d{number}", [f"ladder {number}", "meter"]) for number in range(20)])
    await client.delete(["d3"], MEMBER)
    before = await client.search(bm25("ladder 7"), MEMBER)
    await client.aclose()
    client = engine.open()
    after = await client.search(bm25("ladder 7"), MEMBER)
    assert after.hits == before.hits
    assert (await client.info()).views == {"lexical": 38, "vector": 38}
    await client.aclose()


async def test_closing_twice_is_harmless_and_use_after_close_is_an_error(engine: Engine) -> None:
    client = engine.open()
    await client.ping()
    await client.aclose()
    await client.aclose()
    for call in (client.info(), client.write([write("d", ["x"])]), client.search(bm25("x"), MEMBER), client.ping(), client.delete(["d"], SYSTEM)):
        with pytest.raises(ResourceClosedError):
            await call
