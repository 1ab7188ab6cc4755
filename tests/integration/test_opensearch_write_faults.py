"""Writing while the server is killed, refuses, or answers in pieces: what was acknowledged is there once, whole."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from src.core.identity import DEFAULT_TENANT, EVERYONE
from src.core.search import SearchRequest
from src.errors import OverloadedError, RagError, ServiceUnavailableError, UnreachableError, WriteBlockedError
from src.infra.config import SearchCfg
from src.infra.opensearch_client import OpenSearchClient
from src.infra.search.opensearch.writing import writer
from src.infra.search.opensearch.writing.bulk import Action, Bulk
from tests.contract.search.builders import DIMS, EMBEDDER, MEMBER, SYSTEM, vector_of, write
from tests.integration.opensearch_store import Store
from tests.servers.faults import Fault, FaultProxy, HalfOpen, ItemStorm, Latency, Refuse, Reset, Storm, Truncate
from tests.servers.opensearch.cluster import Cluster
from tests.servers.opensearch.node import OpenSearchNode

MakeNode = Callable[..., OpenSearchNode]


# -- the writer is killed


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_a_killed_writing_process_left_is_made_good_by_the_next(opensearch: Cluster, index_prefix: str, root: Path, seed: int) -> None:
    store = Store.at(opensearch.url, f"{index_prefix}docs")
    try:
        await store.indices.ensure()
        request = json.dumps({"name": "killed", "rounds": 1000, "documents": 60})
        command = [sys.executable, "-m", "tests.integration.opensearch_writer", opensearch.url, store.alias, request]
        writer = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        await asyncio.to_thread(writer.stdout.readline)
        await asyncio.sleep(random.Random(seed).uniform(0.0, 0.5))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        items = [write(f"d{number}", [f"next {at}" for at in range(number % 4)]) for number in range(60)]
        await store.writer.write(items)
        assert await store.torn() == []
        for item in items:
            assert await store.documents.get_chunks(item.document.id, MEMBER) == item.chunks
    finally:
        await store.transport.aclose()


# -- the network, and a server without room


@pytest.fixture
def proxy(opensearch: Cluster) -> Iterator[FaultProxy]:
    with FaultProxy(opensearch.url).running() as running:
        yield running


@pytest.fixture
async def store(proxy: FaultProxy, index_prefix: str) -> AsyncIterator[Store]:
    made = Store.at(proxy.url, f"{index_prefix}docs", bulk_actions=20)  # all else as shipped
    await made.indices.ensure()
    yield made
    proxy.set()
    await made.transport.aclose()


CORPUS = [write(f"d{number:02d}", [f"text {number} {at}" for at in range(number % 7)], acl=[EVERYONE]) for number in range(60)]
BULK = "/_bulk"
PASSING: list[tuple[str, tuple[Fault, ...]]] = [
    ("reset before the server", (Reset(path=BULK, share=0.3),)),
    ("answer lost", (Reset(path=BULK, when="answer", share=0.3),)),
    ("answer lost everywhere", (Reset(when="answer", share=0.1),)),
    ("answer broken off", (Truncate(path=BULK, after=10, share=0.3),)),
    ("slow", (Latency(seconds=0.01, jitter_s=0.1),)),
    ("429 to whole requests", (Storm(path=BULK, status=429, share=0.4),)),
    ("503 to whole requests", (Storm(path=BULK, status=503, share=0.4),)),
    ("429 to half of the items", (ItemStorm(path=BULK, items=0.5),)),
    ("all at once", (Latency(seconds=0, jitter_s=0.05), Reset(path=BULK, when="answer", share=0.1), ItemStorm(path=BULK, items=0.2))),
]


@pytest.mark.parametrize("faults", [pytest.param(faults, id=name, marks=pytest.mark.long if "items" in name else []) for name, faults in PASSING])
async def test_writing_gets_through_faults_that_pass(store: Store, proxy: FaultProxy, faults: tuple[Fault, ...]) -> None:
    with proxy.fault(*faults):
        await store.writer.write(CORPUS)
        await store.writer.write([write(f"d{number:02d}", ["shorter"]) for number in range(20, 40)])
        assert await store.writer.delete([f"d{number:02d}" for number in range(40, 50)], MEMBER) == 10
    assert await store.torn() == []
    info = await store.documents.info()
    assert info.documents == 50
    for item in [*CORPUS[:20], *CORPUS[50:]]:
        assert await store.documents.get_chunks(item.document.id, MEMBER) == item.chunks


OUTAGES: list[tuple[str, Fault]] = [
    ("429", Storm(path=BULK, status=429)),
    ("503", Storm(path=BULK, status=503)),
    ("items", ItemStorm(path=BULK, items=1.0)),
    ("refused", Refuse()),
]


@pytest.mark.parametrize("fault", [pytest.param(fault, id=name, marks=[] if name == "refused" else pytest.mark.long) for name, fault in OUTAGES])
async def test_writing_waits_for_an_outage_of_some_seconds_and_the_breaker_that_it_opens(store: Store, proxy: FaultProxy, fault: Fault) -> None:
    await store.writer.write(CORPUS[:1])
    store.indices.forget()
    with proxy.fault(fault):
        writing = asyncio.create_task(store.writer.write(CORPUS))
        done, _ = await asyncio.wait({writing}, timeout=5)
        assert not done
    await writing
    assert await store.torn() == []
    assert (await store.documents.info()).documents == len(CORPUS)


async def test_what_ingestion_asks_between_its_writes_waits_for_an_outage_as_well(proxy: FaultProxy, index_prefix: str) -> None:
    client = OpenSearchClient(SearchCfg(host=proxy.url, index_alias=f"{index_prefix}asked", timeout_s=5), embedder=EMBEDDER, dims=DIMS)
    try:
        await client.write(CORPUS[:2])
        with proxy.fault(Refuse()):
            asked = [asyncio.create_task(client.content_hashes(["d00", "d01"], DEFAULT_TENANT)), asyncio.create_task(client.refresh())]
            done, _ = await asyncio.wait(asked, timeout=3)
            assert not done
        hashes, _ = await asyncio.gather(*asked)
        assert hashes == {item.document.id: item.document.content_hash for item in CORPUS[:2]}
    finally:
        await client.aclose()


async def test_a_cluster_that_never_answered_is_not_waited_for(proxy: FaultProxy, index_prefix: str) -> None:
    fresh = Store.at(proxy.url, f"{index_prefix}fresh")
    try:
        with proxy.fault(Refuse()), pytest.raises(UnreachableError):
            async with asyncio.timeout(30):
                await fresh.writer.write(CORPUS[:1])
    finally:
        await fresh.transport.aclose()


async def test_what_a_killed_writer_left_is_searched_until_the_next_write_and_given_back_by_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/opensearch.md says among the differences between the engines."""
    old, new, fresh = write("old", ["zebra first", "zebra second"]), write("old", ["zebra later"]), write("new", ["giraffe"])
    await store.writer.write([old])

    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(writer._Group, "_finish", killed)
    with pytest.raises(asyncio.CancelledError):
        await store.writer.write([new, fresh])
    monkeypatch.undo()
    await store.settle()
    client = OpenSearchClient(store.cfg, embedder=EMBEDDER, dims=DIMS)
    try:
        for word, text in (("giraffe", "giraffe"), ("zebra", "zebra later")):
            found = await client.search(SearchRequest(word, mode="bm25"), MEMBER)
            assert [hit.text for hit in found.hits] == [text]
        assert await client.count(MEMBER) == 2
        assert await client.get_document("new", MEMBER) is None
        assert await client.get_document("old", MEMBER) == old.document
        assert [document.id for document in (await client.list_documents(MEMBER)).documents] == ["old"]
        assert [item.document.id async for item in client.export(MEMBER)] == ["old"]
        await client.write([new, fresh])
        assert await store.torn() == []
    finally:
        await client.aclose()


async def test_a_connection_that_goes_silent_is_given_up_and_the_batch_sent_again(store: Store, proxy: FaultProxy, index_prefix: str) -> None:
    impatient = Store.at(proxy.url, store.alias, bulk_actions=20, bulk_timeout_s=1.0)
    try:
        with proxy.fault(HalfOpen(path=BULK, times=2)):
            await impatient.writer.write(CORPUS)
        assert await store.torn() == []
        assert (await store.documents.info()).documents == len(CORPUS)
    finally:
        await impatient.transport.aclose()


async def test_a_group_of_documents_takes_four_requests_and_an_unchanged_one_takes_one(store: Store, proxy: FaultProxy) -> None:
    plain = Store.at(proxy.url, store.alias)
    try:
        await plain.indices.ensure()
        proxy.forget()
        await plain.writer.write(CORPUS)
        paths = [request.path.partition("?")[0].rpartition("/")[2] for request in proxy.requests]
        assert paths == ["_mget", "_bulk", "_bulk", "_bulk"]
        proxy.forget()
        await plain.writer.write(CORPUS)
        assert len(proxy.requests) == 1
    finally:
        await plain.transport.aclose()


async def test_only_refused_items_are_sent_again(store: Store, proxy: FaultProxy) -> None:
    with proxy.fault(ItemStorm(path=BULK, items=0.5, times=1)):
        bulk = Bulk(store.transport, store.cfg.model_copy(update={"bulk_actions": 100}), store.alias)
        report = await bulk.run(Action(f"a-{number}", {"kind": "chunk", "position": number}) for number in range(100))
    sizes = [request.request.text.count("\n") // 2 for request in proxy.seen(BULK)]
    assert (report.done, report.failed, sizes[0], len(sizes)) == (100, [], 100, 2)
    assert 0 < sizes[1] == report.repeated < 100


LASTING: list[tuple[str, tuple[Fault, ...], type[RagError]]] = [
    ("refused", (Refuse(),), UnreachableError),
    ("429", (Storm(path=BULK, status=429),), OverloadedError),
    ("503", (Storm(path=BULK, status=503),), ServiceUnavailableError),
    ("items", (ItemStorm(path=BULK, items=1.0),), OverloadedError),
]


@pytest.mark.parametrize(("faults", "kind"), [(faults, kind) for _, faults, kind in LASTING], ids=[name for name, _, _ in LASTING])
async def test_an_outage_is_an_error_and_what_comes_after_makes_it_good(
    store: Store, proxy: FaultProxy, faults: tuple[Fault, ...], kind: type[RagError]
) -> None:
    await store.writer.write(CORPUS[:30])
    short = Store.at(proxy.url, store.alias, max_retries=2, bulk_timeout_s=1, breaker_failures=1000)
    with proxy.fault(*faults), pytest.raises(kind):
        await short.writer.write([write("d01", ["new"]), *CORPUS[30:]])
    await short.transport.aclose()
    await store.writer.write([write("d01", ["new"]), *CORPUS[30:]])
    assert await store.torn() == []
    assert (await store.documents.info()).documents == len(CORPUS)


async def test_a_full_disk_is_told_at_once_and_not_asked_again(store: Store, proxy: FaultProxy) -> None:
    reason = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"
    body = json.dumps({"error": {"type": "cluster_block_exception", "reason": reason}, "status": 429})
    with proxy.fault(Storm(path=BULK, status=429, body=body)), pytest.raises(WriteBlockedError, match="flood-stage"):
        await Bulk(store.transport, store.cfg, store.alias).run([Action("a", {"kind": "chunk"})])
    assert len(proxy.seen(BULK)) == 1


async def test_searches_under_faults_are_right_or_an_error(proxy: FaultProxy, store: Store) -> None:
    await store.writer.write(CORPUS)
    await store.settle()
    cfg = SearchCfg(host=proxy.url, index_alias=store.alias, timeout_s=3, breaker_failures=100)
    client = OpenSearchClient(cfg, embedder=EMBEDDER, dims=DIMS)
    request = SearchRequest("text 13", mode="hybrid", top_k=7, vector=vector_of("text 13"))
    try:
        wanted = [hit.chunk_id for hit in (await client.search(request, SYSTEM)).hits]
        failed = 0
        for faults in (*(faults for _, faults in PASSING), (HalfOpen(share=0.2),), (Storm(status=429, share=0.4),), (Truncate(after=200, share=0.3),)):
            with proxy.fault(*faults):
                for _ in range(4):
                    try:
                        found = await client.search(request, SYSTEM)
                    except ServiceUnavailableError:
                        failed += 1
                    else:
                        assert [hit.chunk_id for hit in found.hits] == wanted
        assert [hit.chunk_id for hit in (await client.search(request, SYSTEM)).hits] == wanted
        assert failed < 30
    finally:
        await client.aclose()


# -- requests that are too large


@pytest.mark.long
@pytest.mark.parametrize("settings", [{"http.max_content_length": "100kb"}, {"indexing_pressure.memory.limit": "100kb"}])
async def test_a_batch_that_the_server_does_not_take_is_split_until_it_does(opensearch_node: MakeNode, settings: dict[str, str]) -> None:
    node = opensearch_node("knn", "384m", **settings)
    store = Store.at(node.url, "small")
    try:
        item = write("d", [f"text {number} " + "x" * 1000 for number in range(300)])
        await store.writer.write([item])
        assert await store.documents.get_chunks("d", MEMBER) == item.chunks
        huge = Action("huge", {"kind": "chunk", "text": "y" * 200_000})
        report = await Bulk(store.transport, store.cfg, store.alias).run([huge, Action("fits", {"kind": "chunk"})])
        assert (report.done, [(error.item_id, error.status) for error in report.failed]) == (1, [("huge", 413)])
    finally:
        await store.transport.aclose()
