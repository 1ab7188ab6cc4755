"""Export, refresh and copy, on every engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from src.core.documents import Document
from src.core.identity import EVERYONE, AccessScope
from src.core.search import SearchRequest
from src.infra.search.protocol import DocumentWrite, SearchClient
from src.infra.search.sync import copy

from .builders import MEMBER, SYSTEM, write
from .conftest import Engine

ODD = "odd\udcff/\u00e9\x00 id"


def corpus() -> list[DocumentWrite]:
    return [
        write("b", ["second one", "second two"], metadata={"year": 2020, "tags": ("x", "y"), "big": 2**70}, pages=[1, 2], sections=["A", "A > B"]),
        write("a", ["first one"], tenant="other", title="Title"),
        write("a", ["first of ours"], acl=["user:ann", "group:board"]),
        write("nobody", ["seen by nobody"], acl=[]),
        write("empty", []),
        write(ODD, ["odd \udcff text"]),
    ]


async def exported(client: SearchClient, scope: AccessScope = SYSTEM, after: tuple[str, str] | None = None) -> list[DocumentWrite]:
    return [one async for one in client.export(scope, after=after)]


def key(item: DocumentWrite) -> tuple[str, str]:
    return item.document.id, item.document.tenant


def same(one: DocumentWrite, other: DocumentWrite) -> bool:
    ours, theirs = one.document, other.document
    unsorted = [Document(**{**{f: getattr(d, f) for f in d.__slots__}, "acl": tuple(sorted(d.acl))}) for d in (ours, theirs)]
    return unsorted[0] == unsorted[1] and one.chunks == other.chunks and np.array_equal(one.vectors.ravel(), other.vectors.ravel())


async def test_export_gives_back_what_was_written_bit_for_bit_in_order(client: SearchClient) -> None:
    await client.write(corpus())
    await client.refresh()
    found = await exported(client)
    assert [key(item) for item in found] == sorted((key(item) for item in corpus()), key=lambda pair: [part.encode("utf-8", "surrogatepass") for part in pair])
    written = {key(item): item for item in corpus()}
    assert all(same(item, written[key(item)]) for item in found)


async def test_export_continues_behind_a_document(client: SearchClient) -> None:
    await client.write(corpus())
    await client.refresh()
    whole = [key(item) for item in await exported(client)]
    for at, position in enumerate(whole):
        assert [key(item) for item in await exported(client, after=position)] == whole[at + 1 :]


async def test_export_shows_a_scope_what_it_may_see(client: SearchClient) -> None:
    await client.write(corpus())
    await client.refresh()
    assert {key(item) for item in await exported(client, MEMBER)} == {("b", "default"), ("a", "default"), ("empty", "default"), (ODD, "default")}
    assert await exported(client, AccessScope("elsewhere", frozenset({EVERYONE}))) == []


async def test_after_refresh_a_search_sees_what_was_acknowledged(client: SearchClient) -> None:
    await client.write([write("b", ["zebra crossing"])])
    await client.refresh()
    assert [hit.document_id for hit in (await client.search(SearchRequest("zebra", mode="bm25", top_k=3), MEMBER)).hits] == ["b"]


@pytest.mark.parametrize("mirror", [False, True])
async def test_copy_moves_everything_and_mirror_deletes_the_rest(client: SearchClient, make_engine: Callable[[], Engine], mirror: bool) -> None:
    await client.write(corpus())
    await client.refresh()
    store = make_engine()
    target = store.open()
    await target.write([write("only there", ["extra"]), write("b", ["older"]), write("a", ["namesake"], tenant="third"), write("hidden", ["x"], acl=[])])
    told: list[tuple[int, int]] = []
    done = await copy(client, target, mirror=mirror, on_copied=lambda *counts: told.append(counts))
    assert (done.documents, done.chunks, done.deleted) == (6, 6, 3 if mirror else 0)
    assert told[-1] == (6, 6)
    mine, theirs = await exported(client), {key(item): item for item in await exported(target)}
    assert all(same(item, theirs[key(item)]) for item in mine)
    assert len(theirs) == (6 if mirror else 9)
    again = await copy(client, target, mirror=mirror)
    assert (again.documents, again.deleted) == (6, 0)
    await target.aclose()
    store.drop()


async def test_a_rebuild_replaces_everything(client: SearchClient, engine: Engine) -> None:
    await client.write(corpus())
    other = engine.open(embedder="test-model/2")
    async with other.rebuilding() as aside:
        await aside.write([write("new", ["new text"])])
        await aside.refresh()
        assert [key(item) for item in await exported(aside)] == [("new", "default")]
    await other.refresh()
    assert [key(item) for item in await exported(other)] == [("new", "default")]
    assert (await other.info()).documents == 1
    await other.aclose()
