"""A writer that dies in the middle: until the document is written again, nobody reaches a chunk that its own access list does not open to him."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.core.identity import DEFAULT_TENANT, EVERYONE, AccessScope
from src.core.search import AnyOf, Mode, SearchRequest
from src.infra.config import SearchCfg
from src.infra.opensearch_client import OpenSearchClient
from src.infra.resilience.retry import without_waiting
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.opensearch.versions.reindex import Reindexer
from src.infra.search.opensearch.writing import writer
from src.infra.search.opensearch.writing.bulk import Action
from src.infra.search.protocol import DocumentWrite, SearchClient
from src.infra.search.sync import copy
from tests.contract.search.builders import DIMS, EMBEDDER, SYSTEM, vector_of, write
from tests.servers.opensearch.cluster import Cluster

MODES: tuple[Mode, ...] = ("bm25", "knn", "hybrid")
BOARD, ANN, BOB = "group:board", "user:ann", "user:bob"
CHANGES = {"narrowed": ((EVERYONE,), (BOARD,)), "widened": ((BOARD,), (EVERYONE,)), "moved": ((BOARD, ANN), (BOARD, BOB))}
CHUNKS = 4
ALL, SOME = tuple(range(CHUNKS)), (1, 2)
CASES = [("narrowed", ALL), ("narrowed", SOME), ("narrowed", ()), ("widened", SOME), ("moved", SOME)]
"""What a write does to the access list, and the places whose chunks it had replaced when it died."""


def scope(*principals: str) -> AccessScope:
    return AccessScope(DEFAULT_TENANT, frozenset(principals))


SCOPES = [scope(principal) for principal in (EVERYONE, BOARD, ANN, BOB)] + [scope(EVERYONE, BOARD)]


@dataclass(frozen=True)
class Half:
    """A document whose last write never ended. Old texts say `quince`, new ones `medlar`."""

    old: DocumentWrite
    new: DocumentWrite

    @classmethod
    def of(cls, change: str) -> Half:
        old, new = CHANGES[change]
        return cls(half("quince", old), half("medlar", new))

    def may_see(self, text: str, who: AccessScope) -> bool:
        item = self.old if "quince" in text else self.new
        return not who.principals.isdisjoint(item.document.acl)


def half(word: str, acl: Sequence[str]) -> DocumentWrite:
    return write("doc", [f"{word} number {at}" for at in range(CHUNKS)], acl=acl, sections=[word] * CHUNKS, content_hash=word)


async def die_writing(client: SearchClient, item: DocumentWrite, replaced: Collection[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has marked the record and written the chunks at these places when it dies."""
    all_actions = writer._chunk_actions

    async def some(jobs: Sequence[writer._Job]) -> AsyncIterator[Action]:
        async for action in all_actions(jobs):
            if int(action.id.partition("-")[2]) in replaced:
                yield action

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_chunk_actions", some)
        patch.setattr(writer._Group, "_finish", dies)
        with pytest.raises(asyncio.CancelledError):
            await client.write([item])
    await client.refresh()


async def found(client: SearchClient, question: str, mode: Mode, who: AccessScope) -> set[str]:
    vector = None if mode == "bm25" else vector_of(question)
    return {hit.text for hit in (await client.search(SearchRequest(question, mode=mode, vector=vector), who)).hits}


async def searched(client: SearchClient, who: AccessScope) -> dict[str, set[str]]:
    return {f"{mode} {word}": await found(client, f"{word} number 1", mode, who) for mode in MODES for word in ("quince", "medlar")}


async def reached(client: SearchClient, who: AccessScope) -> dict[str, set[str]]:
    """Texts by the way they are reached."""
    texts = await searched(client, who)
    with without_waiting():
        texts["chunks"] = {chunk.text for chunk in await client.get_chunks("doc", who)}
        texts["export"] = {chunk.text async for item in client.export(who) for chunk in item.chunks}
    return texts


async def check(client: SearchClient, document: Half) -> None:
    for who in SCOPES:
        for way, texts in (await reached(client, who)).items():
            assert not [text for text in texts if not document.may_see(text, who)], (way, who)
        for word in ("quince", "medlar"):
            if not document.may_see(word, who):  # nor do the surroundings of what may be seen tell the words
                assert await found(client, word, "bm25", who) == set(), who
                assert (await client.list_documents(who, filters=[AnyOf("section", (word,))])).documents == (), who


@pytest.fixture
async def client(opensearch: Cluster, index_prefix: str) -> AsyncIterator[OpenSearchClient]:
    made = OpenSearchClient(SearchCfg(host=opensearch.url, index_alias=f"{index_prefix}docs", replicas=0), embedder=EMBEDDER, dims=DIMS)
    yield made
    await made.aclose()


@pytest.fixture
async def copied(tmp_path: Path) -> AsyncIterator[SearchClient]:
    async with AsyncExitStack() as stack:
        made = EmbeddedSearch(tmp_path / "copy", embedder=EMBEDDER, dims=DIMS)
        stack.push_async_callback(made.aclose)
        yield made


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        pytest.param(change, replaced, id=f"{change}, {len(replaced)} of {CHUNKS}", marks=[] if replaced is SOME else pytest.mark.long)
        for change, replaced in CASES
    ],
)
async def test_each_chunk_is_judged_by_its_own_access_list_wherever_it_is_moved(
    client: OpenSearchClient, copied: SearchClient, monkeypatch: pytest.MonkeyPatch, change: str, replaced: Collection[int]
) -> None:
    document = Half.of(change)
    await client.write([document.old])
    await die_writing(client, document.new, replaced, monkeypatch)
    await check(client, document)
    with without_waiting():
        await copy(client, copied)
    await check(copied, document)

    before = [await searched(client, who) for who in SCOPES]
    await Reindexer(client.indices).run()
    client.indices.forget()
    await check(client, document)
    assert [await searched(client, who) for who in SCOPES] == before
    with without_waiting():
        await copy(client, copied)
    await check(copied, document)

    await client.write([document.new])
    await client.refresh()
    with without_waiting():
        await copy(client, copied)
    reader = scope(*document.new.document.acl)
    for engine in (client, copied):
        assert await engine.get_document("doc", reader) == document.new.document
        assert await engine.get_chunks("doc", reader) == document.new.chunks
        assert await found(engine, "quince", "bm25", SYSTEM) == set()


async def test_who_may_see_both_revisions_sees_what_is_there(client: OpenSearchClient, monkeypatch: pytest.MonkeyPatch) -> None:
    document = Half.of("narrowed")
    await client.write([document.old])
    await die_writing(client, document.new, (1, 2), monkeypatch)
    texts = ["quince number 0", "medlar number 1", "medlar number 2", "quince number 3"]
    assert [chunk.text for chunk in await client.get_chunks("doc", scope(EVERYONE, BOARD))] == texts
    assert [chunk.text for chunk in await client.get_chunks("doc", scope(EVERYONE))] == [texts[0], texts[3]]
    assert [chunk.text for chunk in await client.get_chunks("doc", SYSTEM)] == texts


async def test_what_leaves_the_index_half_written_is_open_to_those_alone_who_may_see_all_of_it(
    client: OpenSearchClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Half.of("moved")
    await client.write([document.old])
    await die_writing(client, document.new, (1, 2), monkeypatch)
    (item,) = [item async for item in client.export(SYSTEM)]
    assert (item.document.acl, item.document.content_hash, len(item.chunks)) == ((BOARD,), "", CHUNKS)
    (item,) = [item async for item in client.export(scope(ANN))]
    assert (item.document.acl, [chunk.position for chunk in item.chunks]) == ((BOARD, ANN), [0, 3])
