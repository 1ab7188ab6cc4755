"""The transport against a real node, with faults between them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest

from src.errors import (
    DeadlineExceededError,
    IndexMissingError,
    MappingConflictError,
    OverloadedError,
    PayloadTooLargeError,
    QueryError,
    RagError,
    ResourceClosedError,
    ServerMemoryError,
    ServiceUnavailableError,
    UnreachableError,
    WriteBlockedError,
)
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.resilience.deadline import deadline
from src.infra.resilience.retry import without_waiting
from src.infra.search.opensearch.wire.transport import Transport
from tests.servers.faults import FaultProxy, HalfOpen, Latency, Refuse, Reset, Storm, Truncate
from tests.servers.opensearch.cluster import Cluster
from tests.servers.opensearch.node import OpenSearchNode

ALL = {"query": {"match_all": {}}}
Make = Callable[..., Transport]


def document_lines(count: int) -> bytes:
    return b"".join(b'{"index":{"_id":"%d"}}\n{"n":%d}\n' % (number, number) for number in range(count))


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 30) -> bool:
    """Poll; whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if await holds():
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Transports under a policy of their own, closed at the end."""
    made: list[Transport] = []

    def transport(host: str, **settings: Any) -> Transport:
        made.append(Transport(SearchCfg(host=host, **settings), NetworkPolicy(NetworkCfg())))
        return made[-1]

    yield transport
    for one in made:
        await one.aclose()


@pytest.fixture
def proxy(opensearch: Cluster) -> Iterator[FaultProxy]:
    with FaultProxy(opensearch.url).running() as running:
        yield running


@pytest.fixture
def docs(opensearch: Cluster, index_prefix: str) -> str:
    """An index with three documents."""
    name = f"{index_prefix}docs"
    opensearch.ask(
        "PUT", name, {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}}}}
    )
    opensearch.ask("POST", f"{name}/_bulk?refresh=true", [json.loads(line) for line in document_lines(3).splitlines()])
    return name


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with without_waiting():
        yield


async def search(transport: Transport, index: str, **options: Any) -> int:
    answer = await transport.perform("POST", f"/{index}/_search", body=ALL, index=index, **options)
    total: int = answer["hits"]["total"]["value"]
    return total


class TestRefusals:
    async def test_a_missing_index_is_an_error_with_its_name(self, opensearch: Cluster, make: Make) -> None:
        with pytest.raises(IndexMissingError, match="'nobody-made-this'") as raised:
            await search(make(opensearch.url), "nobody-made-this")
        assert raised.value.hop == opensearch.url

    async def test_a_mapping_that_does_not_fit_is_a_conflict(self, opensearch: Cluster, docs: str, make: Make) -> None:
        with pytest.raises(MappingConflictError):
            await make(opensearch.url).perform("POST", f"/{docs}/_doc", body={"unknown": 1}, index=docs)
        with pytest.raises(MappingConflictError) as raised:
            await make(opensearch.url).perform("POST", f"/{docs}/_doc", body={"n": "secret words"}, index=docs)
        assert "secret" not in str(raised.value)

    async def test_a_query_that_the_server_does_not_know_is_the_querys_fault(self, opensearch: Cluster, docs: str, make: Make) -> None:
        with pytest.raises(QueryError, match="nothing_known"):
            await make(opensearch.url).perform("POST", f"/{docs}/_search", body={"query": {"nothing_known": {}}}, index=docs)

    async def test_flood_stage_and_write_blocks_are_told_at_once(self, opensearch: Cluster, docs: str, proxy: FaultProxy, make: Make) -> None:
        transport = make(proxy.url)
        for block in ("read_only_allow_delete", "write"):
            opensearch.ask("PUT", f"{docs}/_settings", {f"index.blocks.{block}": True})
            proxy.forget()
            with pytest.raises(WriteBlockedError):
                await transport.perform("POST", f"/{docs}/_doc", body={"n": 1}, index=docs)
            assert len(proxy.seen("_doc")) == 1, "a block is not worth a repeat"
            opensearch.ask("PUT", f"{docs}/_settings", {f"index.blocks.{block}": None})

    async def test_raw_answers_leave_404_and_409_to_the_caller(self, opensearch: Cluster, docs: str, make: Make) -> None:
        transport = make(opensearch.url)
        assert await transport.perform_raw("GET", f"/{docs}/_doc/9") == (404, {"_index": docs, "_id": "9", "found": False})
        status, body = await transport.perform_raw("PUT", f"/{docs}/_create/1", body={"n": 1})
        assert (status, body["error"]["type"]) == (409, "version_conflict_engine_exception")
        assert await transport.perform_raw("HEAD", f"/{docs}-none") == (404, None)

    async def test_ndjson_is_sent_as_it_is(self, opensearch: Cluster, docs: str, make: Make) -> None:
        answer = await make(opensearch.url).perform("POST", f"/{docs}/_bulk", params={"refresh": "true"}, body=document_lines(2000), retry=False)
        assert answer["errors"] is False
        assert opensearch.ask("GET", f"{docs}/_count")["count"] == 2000


@pytest.mark.long
async def test_limits_that_no_repeat_can_heal_are_told_apart_from_those_it_can(opensearch_node: Callable[..., OpenSearchNode], make: Make) -> None:
    node = opensearch_node("plain", "256m", **{"indexing_pressure.memory.limit": "200kb", "http.max_content_length": "1mb"})
    with FaultProxy(node.url).running() as proxy:
        transport = make(proxy.url, bulk_timeout_s=60)
        node.cluster.ask("PUT", "docs", {"settings": {"number_of_replicas": 0}})
        for size, why in ((300_000, "indexing pressure"), (1_500_000, "413")):
            proxy.forget()
            with pytest.raises(PayloadTooLargeError, match=why):
                await transport.perform("POST", "/docs/_bulk", body=b'{"index":{}}\n{"a":"' + b"x" * size + b'"}\n', index="docs")
            assert len(proxy.seen("_bulk")) == 1
        node.cluster.ask("PUT", "_cluster/settings", {"transient": {"indices.breaker.request.limit": "1b"}})
        with pytest.raises(ServerMemoryError):
            await transport.perform("POST", "/docs/_search", body={"size": 0, "aggs": {"a": {"terms": {"field": "_id", "size": 10}}}}, index="docs")


class TestRetries:
    @pytest.mark.parametrize(
        "fault",
        [
            Reset(path="_search", times=2),
            Reset(path="_search", when="answer", times=2),
            Storm(path="_search", status=503, times=2),
            Storm(path="_search", status=502, body="<html>Bad Gateway</html>", content_type="text/html", times=2),
            Storm(path="_search", status=429, times=3),
            Storm(path="_search", status=503, headers=(("retry-after", "1"),), times=1),
            Truncate(path="_search", after=20, times=2),
        ],
        ids=lambda fault: type(fault).__name__ + str(getattr(fault, "status", "")),
    )
    async def test_a_search_is_repeated_after_what_may_pass(self, fault: Any, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, max_retries=3)
        with proxy.fault(fault):
            assert await search(transport, docs) == 3
        assert len(proxy.seen("_search")) == 1 + fault.times

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Storm(status=429), OverloadedError),
            (Storm(status=503), ServiceUnavailableError),
            (Reset(), UnreachableError),
            (Truncate(after=10), UnreachableError),
        ],
        ids=["429", "503", "reset", "truncated"],
    )
    async def test_what_lasts_is_an_error_after_the_configured_repeats(
        self, fault: Any, kind: type[RagError], proxy: FaultProxy, docs: str, make: Make
    ) -> None:
        transport = make(proxy.url, max_retries=2, breaker_failures=100)
        with proxy.fault(fault), pytest.raises(kind) as raised:
            await search(transport, docs)
        assert len(proxy.seen("_search")) == 3
        assert proxy.url in str(raised.value)

    @pytest.mark.parametrize("fault", [Reset(when="answer"), Storm(status=503), Storm(status=429)], ids=["reset", "503", "429"])
    async def test_what_may_not_be_repeated_is_sent_once(self, fault: Any, proxy: FaultProxy, docs: str, make: Make) -> None:
        with proxy.fault(fault), pytest.raises(ServiceUnavailableError):
            await make(proxy.url).perform("POST", f"/{docs}/_bulk", body=document_lines(1), retry=False, index=docs)
        assert len(proxy.seen("_bulk")) == 1

    async def test_an_outage_is_not_multiplied_by_repeats(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, max_retries=10, breaker_failures=10_000)
        with proxy.fault(Storm(status=503)):
            for _ in range(100):
                with pytest.raises(ServiceUnavailableError):
                    await search(transport, docs)
        assert len(proxy.seen("_search")) <= 100 + 20 + 0.1 * 100 + 30, "100 requests, the reserve, a tenth, and what trickled in"


class TestBreaker:
    async def test_during_an_outage_searches_fail_fast_and_recover_within_one_window(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, breaker_failures=3, breaker_reset_s=0.3, max_retries=1)
        assert await search(transport, docs) == 3
        with proxy.fault(Refuse()):
            for _ in range(3):
                with pytest.raises(ServiceUnavailableError):
                    await search(transport, docs)
            assert transport.breakers.states() == {proxy.url: "open"}
        # The server is back, but the window is not over: nobody asks it.
        proxy.forget()
        with pytest.raises(ServiceUnavailableError, match="left alone") as raised:
            await search(transport, docs)
        assert type(raised.value) is ServiceUnavailableError
        assert proxy.url in str(raised.value)
        assert "cannot be reached" in str(raised.value), "it says what the failures were"
        assert proxy.connections == 0
        await asyncio.sleep(0.3)
        assert await search(transport, docs) == 3
        assert transport.breakers.states() == {proxy.url: "closed"}

    async def test_of_many_waiting_requests_one_alone_tries_a_host_that_hangs(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, timeout_s=0.4, breaker_failures=2, breaker_reset_s=0.2)
        with proxy.fault(HalfOpen()):
            for _ in range(2):
                with pytest.raises(DeadlineExceededError):
                    await search(transport, docs)
            await asyncio.sleep(0.25)
            proxy.forget()
            outcomes = await asyncio.gather(*(search(transport, docs) for _ in range(32)), return_exceptions=True)
            assert len(proxy.seen("_search")) == 1
            assert sorted({type(outcome).__name__ for outcome in outcomes}) == ["DeadlineExceededError", "ServiceUnavailableError"]
        await asyncio.sleep(0.25)
        assert await search(transport, docs) == 3

    async def test_what_requests_bring_about_themselves_never_opens_it(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, breaker_failures=1, max_retries=0)
        for fault in (Storm(status=400), Storm(status=429), Storm(status=500), Storm(status=413, body=""), Storm(status=401, body="Unauthorized")):
            with proxy.fault(fault), pytest.raises(RagError):
                await search(transport, docs)
        assert await search(transport, docs) == 3

    async def test_a_probe_that_is_cancelled_does_not_keep_the_host_out(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, breaker_failures=1, breaker_reset_s=0.05, max_retries=0)
        with proxy.fault(Reset()), pytest.raises(UnreachableError):
            await search(transport, docs)
        await asyncio.sleep(0.06)
        with proxy.fault(HalfOpen()):
            probing = asyncio.create_task(search(transport, docs))
            await asyncio.sleep(0.05)
            probing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probing
        assert await search(transport, docs) == 3


class TestSeveralHosts:
    async def test_a_host_that_is_down_costs_searches_nothing_but_a_try(self, opensearch: Cluster, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(f"{proxy.url},{opensearch.url}", breaker_failures=2, max_retries=1, breaker_reset_s=0.2)
        with proxy.fault(Refuse()):
            for _ in range(4):
                assert await search(transport, docs) == 3
            assert transport.breakers.states() == {proxy.url: "open", opensearch.url: "closed"}
        await asyncio.sleep(0.25)
        proxy.forget()
        assert await search(transport, docs) == 3
        assert len(proxy.seen("_search")) == 1, "the first host serves again once it is back"

    async def test_a_write_that_reached_no_server_goes_to_the_next(self, opensearch: Cluster, docs: str, make: Make) -> None:
        transport = make(f"http://127.0.0.1:1,{opensearch.url}")
        await transport.perform("POST", f"/{docs}/_bulk", params={"refresh": "true"}, body=document_lines(5), retry=False)
        assert opensearch.ask("GET", f"{docs}/_count")["count"] == 5

    async def test_a_write_that_may_have_reached_one_does_not(self, opensearch: Cluster, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(f"{proxy.url},{opensearch.url}")
        with proxy.fault(Reset(when="answer")), pytest.raises(UnreachableError):
            await transport.perform("POST", f"/{docs}/_doc", params={"refresh": "true"}, body={"n": 7}, retry=False)
        assert opensearch.ask("GET", f"{docs}/_count")["count"] == 4, "written once"

    async def test_with_all_of_them_down_the_error_names_them(self, make: Make) -> None:
        transport = make("http://127.0.0.1:1,http://127.0.0.1:2", breaker_failures=1, max_retries=1)
        with pytest.raises(UnreachableError):
            await transport.perform("GET", "/")
        with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:1, http://127\.0\.0\.1:2"):
            await transport.perform("GET", "/")


class TestTime:
    async def test_no_answer_within_the_configured_time_names_the_setting(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        with proxy.fault(HalfOpen()), pytest.raises(DeadlineExceededError, match=r"within 0\.2 s.*search\.timeout_s"):
            await search(make(proxy.url, timeout_s=0.2), docs)

    async def test_a_deadline_above_shortens_it_and_short_silence_says_little_of_the_host(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, breaker_failures=1)
        with proxy.fault(HalfOpen()), deadline(0.1), pytest.raises(DeadlineExceededError):
            await search(transport, docs)
        assert transport.breakers.states() == {proxy.url: "closed"}
        with deadline(0), pytest.raises(DeadlineExceededError):
            await search(transport, docs)
        assert await search(transport, docs) == 3

    async def test_repeats_share_the_time_of_the_request(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, timeout_s=0.5, max_retries=10, breaker_failures=100)
        with proxy.fault(Latency(seconds=0.3), Storm(status=503)), pytest.raises(DeadlineExceededError):
            await search(transport, docs)
        assert len(proxy.seen("_search")) <= 2

    @pytest.mark.parametrize("kind", ["_search", "_msearch"])
    async def test_a_search_that_timed_out_is_cancelled_on_the_server(self, kind: str, opensearch: Cluster, index_prefix: str, make: Make) -> None:
        index, transport = f"{index_prefix}slow", make(opensearch.url)
        await transport.perform("PUT", f"/{index}", body={"settings": {"number_of_shards": 1, "number_of_replicas": 0}})
        await transport.perform("POST", f"/{index}/_bulk", params={"refresh": "true"}, body=document_lines(20_000), timeout_s=120)
        # Some 20 s of work on an idle core; a cancelled search looks up every 2,048 documents.
        script = "double x = 0; for (int i = 0; i < 100000; i++) { x += Math.sin(i) } return 1 + Math.abs(x)"
        slow = {"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": script}}}}
        body: Any = slow if kind == "_search" else b"{}\n" + json.dumps(slow).encode() + b"\n"

        async def tasks() -> list[Mapping[str, Any]]:
            nodes = (await transport.perform("GET", "/_tasks", params={"actions": "*search*", "detailed": "true"}))["nodes"]
            return [task for node in nodes.values() for task in node["tasks"].values() if index in task["description"]]

        cancelled = False

        async def over() -> bool:
            nonlocal cancelled
            found = await tasks()
            cancelled |= any(task["cancelled"] for task in found)
            return not found

        asking = asyncio.create_task(transport.perform("POST", f"/{index}/{kind}", body=body, timeout_s=1))
        assert await until(lambda: _not_empty(tasks()), 5), "it runs"
        with pytest.raises(DeadlineExceededError):
            await asking
        assert await until(over)
        assert cancelled


async def _not_empty(found: Awaitable[list[Any]]) -> bool:
    return bool(await found)


class TestPool:
    async def test_waiting_for_a_connection_of_ones_own_pool_is_not_the_hosts_fault(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, pool_size=1, timeout_s=0.4, breaker_failures=2, max_retries=0)
        with proxy.fault(HalfOpen()):
            outcomes = await asyncio.gather(*(search(transport, docs) for _ in range(8)), return_exceptions=True)
        crowded = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
        assert len(crowded) == 7
        assert "search.pool_size" in str(crowded[0])
        assert transport.breakers.states() == {proxy.url: "closed"}
        assert await search(transport, docs) == 3

    async def test_a_cancelled_search_leaves_the_pool_as_it_was(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, pool_size=1)
        with proxy.fault(HalfOpen()):
            given_up = [asyncio.create_task(search(transport, docs)) for _ in range(3)]
            await asyncio.sleep(0.1)
            for task in given_up:
                task.cancel()
            assert {type(outcome) for outcome in await asyncio.gather(*given_up, return_exceptions=True)} == {asyncio.CancelledError}
        assert await search(transport, docs) == 3


class TestLoops:
    def test_one_client_serves_one_event_loop_after_another(self, opensearch: Cluster, docs: str, recwarn: pytest.WarningsRecorder) -> None:
        transport = Transport(SearchCfg(host=opensearch.url), NetworkPolicy(NetworkCfg()))

        async def several() -> list[int]:
            return await asyncio.gather(*(search(transport, docs) for _ in range(4)))

        async def last() -> list[int]:
            found = await several()
            await transport.aclose()
            return found

        assert asyncio.run(several()) == asyncio.run(several()) == asyncio.run(last()) == [3] * 4
        assert [str(warning.message) for warning in recwarn if "nclosed" in str(warning.message)] == []

    async def test_loops_of_other_threads_close_their_own_connections(self, proxy: FaultProxy, docs: str) -> None:
        transport = Transport(SearchCfg(host=proxy.url), NetworkPolicy(NetworkCfg()))
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            assert await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(search(transport, docs), loop)) == 3
            assert await search(transport, docs) == 3
            assert proxy.open_connections == 2
            await transport.aclose()

            async def all_closed() -> bool:
                return proxy.open_connections == 0

            assert await until(all_closed)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def test_a_closed_client_says_so(self, opensearch: Cluster, docs: str, make: Make) -> None:
        transport = make(opensearch.url)
        assert await search(transport, docs) == 3
        await transport.aclose()
        with pytest.raises(ResourceClosedError):
            await search(transport, docs)

    async def test_closing_ends_those_who_wait_for_a_connection_with_an_error(self, proxy: FaultProxy, docs: str, make: Make) -> None:
        transport = make(proxy.url, pool_size=1)
        with proxy.fault(HalfOpen()):
            waiting = [asyncio.create_task(search(transport, docs)) for _ in range(3)]
            await asyncio.sleep(0.1)
            await transport.aclose()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ResourceClosedError}
        assert transport._sessions is not None
        assert transport._sessions._open == {}, "none of them opened a connection again"
