"""What our OpenSearch client costs beside raw opensearch-py, against a real server, in one interleaved run.

Run: ``python -m benchmarks.bench_opensearch --url http://127.0.0.1:9200`` (a server: ``make opensearch``).

Every figure is paired: for each question the same request goes out by every client in random order, so a drifting
machine hits all alike. The bytes are the client's own: a recording proxy takes down what it sends, and `http.client`
replays exactly that on one kept connection. Overhead is a client's p50 less the p50 of its own bytes over `http.client`;
the raw clients replay our bytes (that is: the same query), decoded by their own serializer.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.bench_search import documents, synthetic_texts, unit_vectors
from src.core.identity import AccessScope, Identity, access_scope
from src.core.search import HybridTuning, Mode, SearchRequest
from src.infra.config import SearchCfg
from src.infra.opensearch_client import OpenSearchClient

QUESTIONS = 200
CONCURRENT = 32


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it left the client."""

    method: str
    path: str
    body: bytes


class Recorder:
    """A TCP proxy that takes down each request on its way to the server."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.sent: list[Sent] = []
        self.connections = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        back = asyncio.create_task(self._copy(far_reader, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = lines[0].split(" ")
                self.sent.append(Sent(method, path, body))
                far_writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            back.cancel()
            far_writer.close()
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


class Replay:
    """`http.client` on one kept connection: the floor that every client stands on."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port)

    def __call__(self, sent: Sent) -> bytes:
        kind = "application/x-ndjson" if "_msearch" in sent.path else "application/json"
        self._connection.request(sent.method, sent.path, sent.body, {"Content-Type": kind})
        return self._connection.getresponse().read()


Call = Callable[[], Awaitable[object]]


def p50(values: list[float]) -> float:
    return statistics.median(values) * 1000


async def interleaved(rounds: int, calls: Callable[[int], dict[str, Call]], seed: int) -> dict[str, list[float]]:
    """Each question by every client, in random order."""
    dice = random.Random(seed)
    times: dict[str, list[float]] = {}
    for at in range(-20, rounds):
        todo = list(calls(at % QUESTIONS).items())
        dice.shuffle(todo)
        for name, call in todo:
            began = time.perf_counter()
            await call()
            if at >= 0:
                times.setdefault(name, []).append(time.perf_counter() - began)
    return times


class Bench:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        parts = urlsplit(args.url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 9200
        self.alias = f"bench-{args.documents}"
        self.scope: AccessScope = access_scope(Identity("u", groups=("board",)))
        rng = np.random.default_rng(args.seed)
        self.texts = synthetic_texts(args.documents, rng)
        self.vectors = unit_vectors(args.documents, args.dims, rng)
        starts = rng.integers(0, args.documents, QUESTIONS)
        lengths = rng.integers(4, 14, QUESTIONS)
        self.queries = [" ".join(self.texts[at].split()[5 : 5 + int(length)]) for at, length in zip(starts, lengths, strict=True)]
        self.asked = unit_vectors(QUESTIONS, args.dims, rng)

    def client(self, url: str, **keys: Any) -> OpenSearchClient:
        return OpenSearchClient(SearchCfg(host=url, index_alias=self.alias, timeout_s=60, **keys), embedder="bench", dims=self.args.dims)

    def request(self, at: int, mode: Mode, tuning: HybridTuning) -> SearchRequest:
        return SearchRequest(self.queries[at], mode=mode, top_k=10, vector=self.asked[at], tuning=tuning)

    async def load(self) -> None:
        """Write the collection, unless it is there."""
        client = self.client(self.args.url)
        writes = documents(self.texts, self.vectors)
        began = time.perf_counter()
        known = 0
        for start in range(0, len(writes), 200):
            group = writes[start : start + 200]
            await client.write(group)  # what is there already is skipped
            known += sum(len(write.chunks) for write in group)
        await client.refresh()
        took = time.perf_counter() - began
        print(f"{known:,} chunks of {self.args.dims} dimensions in {took:.0f} s ({known / took:.0f} chunks/s; skipped where already there)")
        await client.aclose()

    async def record(self, mode: Mode, tuning: HybridTuning) -> list[list[Sent]]:
        """The requests that each question makes."""
        recorder = Recorder(self.host, self.port)
        client = self.client(await recorder.start())
        await client.search(self.request(0, mode, tuning), self.scope)  # capabilities are tried, the index is checked
        per_question = []
        for at in range(QUESTIONS):
            recorder.sent.clear()
            await client.search(self.request(at, mode, tuning), self.scope)
            per_question.append(list(recorder.sent))
        await client.aclose()
        await recorder.stop()
        return per_question

    async def overhead(self, name: str, mode: Mode, tuning: HybridTuning) -> None:
        """p50 of ours, of raw opensearch-py (asynchronous and synchronous) and of the same bytes over `http.client`."""
        import opensearchpy

        sent = await self.record(mode, tuning)
        ours = self.client(self.args.url)
        raw = opensearchpy.AsyncOpenSearch([self.args.url], timeout=60)
        sync = opensearchpy.OpenSearch([self.args.url], timeout=60)
        replay = Replay(self.host, self.port)
        decoded = [[(one, _raw_body(one)) for one in requests] for requests in sent]

        def calls(at: int) -> dict[str, Call]:
            async def by_ours() -> None:
                result = await ours.search(self.request(at, mode, tuning), self.scope)
                assert not result.degraded, result.degraded

            async def by_raw() -> None:
                for one, body in decoded[at]:
                    await raw.transport.perform_request(one.method, one.path, body=body)

            async def by_sync() -> None:
                for one, body in decoded[at]:
                    sync.transport.perform_request(one.method, one.path, body=body)

            async def by_floor() -> None:
                for one in sent[at]:
                    replay(one)

            return {"ours": by_ours, "raw async": by_raw, "raw sync": by_sync, "http.client": by_floor}

        times = await interleaved(self.args.rounds, calls, self.args.seed)
        floor = p50(times["http.client"])
        cells = "  ".join(f"{client} {p50(values):6.2f} (+{p50(values) - floor:5.2f})" for client, values in times.items() if client != "http.client")
        print(f"{name:<20} {len(sent[0])} requests  http.client {floor:6.2f}  {cells}")
        await ours.aclose()
        await raw.close()
        sync.close()

    async def concurrent(self, tuning: HybridTuning) -> None:
        """Hybrid searches a second, 32 in flight, ours and raw in turn."""
        import opensearchpy

        sent = await self.record("hybrid", tuning)
        bodies = [[(one, _raw_body(one)) for one in requests] for requests in sent]
        rates: dict[str, list[float]] = {"ours": [], "raw async": []}
        for _ in range(self.args.waves):
            ours = self.client(self.args.url, pool_size=CONCURRENT)
            raw = opensearchpy.AsyncOpenSearch([self.args.url], timeout=60, pool_maxsize=CONCURRENT)

            async def ask(at: int, ours: OpenSearchClient = ours) -> None:
                await ours.search(self.request(at % QUESTIONS, "hybrid", tuning), self.scope)

            async def ask_raw(at: int, raw: opensearchpy.AsyncOpenSearch = raw) -> None:
                for one, body in bodies[at % QUESTIONS]:
                    await raw.transport.perform_request(one.method, one.path, body=body)

            for name, call in (("ours", ask), ("raw async", ask_raw)):
                await asyncio.gather(*(call(at) for at in range(CONCURRENT)))
                rates[name].append(await _rate(call, self.args.rounds * 2))
            await ours.aclose()
            await raw.close()
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["raw async"], strict=True))
        print(
            f"{CONCURRENT} concurrent hybrid: ours {statistics.median(rates['ours']):.0f}/s, "
            f"raw async {statistics.median(rates['raw async']):.0f}/s, ratio {ratio:.3f}"
        )

    async def against_two_searches(self, tuning: HybridTuning) -> None:
        """Hybrid in one round trip, against a peer that searches twice, one after the other, and fuses in the client."""
        import opensearchpy

        ours = self.client(self.args.url)
        lexical = await self.record("bm25", HybridTuning(candidates=tuning.candidates))
        vector = await self.record("knn", HybridTuning(candidates=tuning.candidates))
        raw = opensearchpy.AsyncOpenSearch([self.args.url], timeout=60)

        def calls(at: int) -> dict[str, Call]:
            async def by_ours() -> None:
                await ours.search(self.request(at, "hybrid", tuning), self.scope)

            async def by_peer() -> None:
                found: dict[str, float] = {}
                for one in (lexical[at][0], vector[at][0]):
                    body = {"size": tuning.candidates, "query": json.loads(one.body)["query"], "_source": {"excludes": ["vector"]}}
                    answer = await raw.search(index=self.alias, body=body)
                    for rank, hit in enumerate(answer["hits"]["hits"], 1):
                        found[hit["_id"]] = found.get(hit["_id"], 0.0) + 1.0 / (60 + rank)
                sorted(found.items(), key=lambda pair: -pair[1])[:10]

            return {"ours": by_ours, "two searches": by_peer}

        times = await interleaved(self.args.rounds, calls, self.args.seed)
        one, two = p50(times["ours"]), p50(times["two searches"])
        print(f"hybrid, server fusion {one:.2f} ms; two searches of {tuning.candidates} in turn, fused in the client {two:.2f} ms: {two / one:.2f} times")
        await ours.aclose()
        await raw.close()


def _raw_body(one: Sent) -> Any:
    """What a caller of opensearch-py would pass: an object, or lines for a multi-search."""
    if "_msearch" in one.path:
        return one.body.decode()
    return json.loads(one.body) if one.body else None


async def _rate(call: Callable[[int], Awaitable[object]], total: int) -> float:
    todo = iter(range(total))

    async def worker() -> None:
        for at in todo:
            await call(at)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
    return total / (time.perf_counter() - began)


async def bench(args: argparse.Namespace) -> None:
    run = Bench(args)
    await run.load()
    server = HybridTuning(fusion="server", candidates=100)
    print(f"p50 in ms of {args.rounds} questions, k=10 (overhead over the same bytes by http.client)")
    await run.overhead("bm25", "bm25", server)
    await run.overhead("knn", "knn", server)
    await run.overhead("hybrid, server", "hybrid", server)
    await run.overhead("hybrid, completed", "hybrid", HybridTuning(candidates=100))
    await run.concurrent(server)
    await run.against_two_searches(server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="an OpenSearch without authentication, such as that of `make opensearch`")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--waves", type=int, default=5, help="turns of the concurrent run")
    parser.add_argument("--seed", type=int, default=7)
    asyncio.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
