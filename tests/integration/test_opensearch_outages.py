"""Blips, silence, closed and huge answers: what the transport makes of them, with its breakers and several hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from src.errors import DeadlineExceededError, ForeignServiceError, ResourceClosedError, ServiceUnavailableError, UnreachableError
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.wire import connection
from src.infra.search.opensearch.wire.transport import Transport
from src.retrieval.budgets import Budget, within
from tests.servers.faults import FaultProxy, HalfOpen, Latency, Refuse, Reset

ANSWER = b'{"took":1,"hits":{"hits":[]}}'
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers every request alike: its address, and the requests' first lines."""
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                seen.append(head.partition("\r\n")[0])
                length = head.partition("content-length:")[2].partition("\r\n")[0]
                await reader.readexactly(int(length or 0))
                for piece in pieces or (OK,):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


@pytest.fixture
async def healthy() -> AsyncIterator[str]:
    async with answering() as (url, _):
        yield url


@pytest.fixture
def through(healthy: str) -> Iterator[Callable[[], FaultProxy]]:
    """Hosts with faults, before the same healthy server."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(FaultProxy(healthy).running())


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Transport]]:
    made: list[Transport] = []

    def transport(*hosts: str, **settings: Any) -> Transport:
        made.append(Transport(SearchCfg(host=",".join(hosts), **settings), NetworkPolicy(NetworkCfg())))
        return made[-1]

    yield transport
    for one in made:
        await one.aclose()


async def search(transport: Transport, **options: Any) -> Any:
    return await transport.perform("POST", "/docs/_search", body={"size": 1}, index="docs", **options)


async def together(transport: Transport, count: int, budget_s: float | None = None) -> list[Any]:
    async def one() -> Any:
        async with within(Budget(budget_s, "retrieval.budget_s", "The search")):
            return await search(transport)

    return await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)


class TestBlips:
    @pytest.mark.parametrize("count", [5, 10, 40])
    @pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
    async def test_resets_at_the_same_time_are_healed_by_repeats_and_shut_nobody_out(
        self, count: int, kept: bool, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url)
        if kept:
            await together(transport, 16)
        with proxy.fault(Reset(times=5)):
            outcomes = await together(transport, count)
        assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
        assert transport.breakers.states() == {proxy.url: "closed"}

    async def test_a_kept_connection_that_was_closed_is_replaced_without_a_repeat(
        self, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url, max_retries=0, breaker_failures=1)
        await together(transport, 10)
        with proxy.fault(Reset(times=1)):
            await search(transport)
        assert transport.breakers.states() == {proxy.url: "closed"}

    async def test_a_write_on_a_kept_connection_that_was_closed_is_not_sent_again(
        self, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url)
        await search(transport)
        proxy.forget()
        with proxy.fault(Reset(when="answer")), pytest.raises(UnreachableError):
            await search(transport, retry=False)
        assert len(proxy.seen()) == 1


class TestSilence:
    async def test_under_a_short_budget_a_host_that_hangs_gives_way_to_the_next(
        self, healthy: str, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url, healthy, timeout_s=4, pool_size=40)
        with proxy.fault(HalfOpen()):
            for _ in range(3):
                outcomes = await together(transport, 20, budget_s=0.3)
            assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
            assert transport.breakers.states()[proxy.url] == "open"

    async def test_with_one_host_searches_under_a_short_budget_come_to_fail_at_once(
        self, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url, timeout_s=1)
        with proxy.fault(HalfOpen()):
            found = {type(outcome) for _ in range(8) for outcome in await together(transport, 4, budget_s=0.2)}
            assert found == {DeadlineExceededError, ServiceUnavailableError}
            with pytest.raises(ServiceUnavailableError, match="left alone"):
                await search(transport)

    async def test_a_probe_that_a_budget_cut_short_is_the_last_for_a_while(
        self, healthy: str, through: Callable[[], FaultProxy], make: Callable[..., Transport]
    ) -> None:
        proxy = through()
        transport = make(proxy.url, healthy, breaker_failures=1, breaker_reset_s=2)
        with proxy.fault(Reset()):
            await search(transport)
        assert transport.breakers.states()[proxy.url] == "open"
        await asyncio.sleep(2.1)
        with proxy.fault(HalfOpen()):
            assert [type(outcome) for outcome in await together(transport, 1, budget_s=0.1)] == [DeadlineExceededError]
            for _ in range(5):
                assert isinstance((await together(transport, 1, budget_s=0.5))[0], dict)

    async def test_callers_who_go_away_early_shut_nobody_out(self, through: Callable[[], FaultProxy], make: Callable[..., Transport]) -> None:
        proxy = through()
        transport = make(proxy.url, breaker_failures=1)
        await search(transport)
        with proxy.fault(HalfOpen()):
            for _ in range(5):
                waiting = [asyncio.create_task(search(transport)) for _ in range(40)]
                await asyncio.sleep(0.05)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
        assert transport.breakers.states() == {proxy.url: "closed"}


@pytest.mark.parametrize("retry", [True, False], ids=["search", "write"])
async def test_without_repeats_the_next_host_still_serves_what_reached_none(
    retry: bool, healthy: str, through: Callable[[], FaultProxy], make: Callable[..., Transport]
) -> None:
    proxy = through()
    transport = make(proxy.url, healthy, max_retries=0)
    while transport.budget.withdraw():
        pass
    with proxy.fault(Refuse()):
        for _ in range(3):
            assert "took" in await search(transport, retry=retry)


async def test_closing_during_requests_is_no_failure_of_the_cluster(through: Callable[[], FaultProxy], make: Callable[..., Transport]) -> None:
    proxy = through()
    transport = make(proxy.url, breaker_failures=1)
    with proxy.fault(Latency(seconds=1)):
        waiting = [asyncio.create_task(search(transport)) for _ in range(40)]
        await asyncio.sleep(0.3)
        await transport.aclose()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ResourceClosedError}
    assert transport.breakers.states() == {proxy.url: "closed"}


HUGE = b"x" * 100_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"%x\r\n%b\r\n" % (len(HUGE), HUGE)] * 30, b"0\r\n\r\n"],
        [HEAD + b"content-length: 3000000\r\n\r\n", *[HUGE] * 30],
    ],
    ids=["chunked", "announced"],
)
@pytest.mark.parametrize("limit", [1_000_000, 10_000_000], ids=["over the limit", "not JSON"])
async def test_a_huge_answer_is_fetched_once_and_no_further_than_the_limit(
    pieces: list[bytes], limit: int, make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER", limit)
    async with answering(*pieces) as (url, seen):
        transport = make(url, breaker_failures=1)
        with pytest.raises(ForeignServiceError, match="not OpenSearch"):
            await search(transport)
        assert len(seen) == 1
        assert transport.breakers.states() == {url: "closed"}
