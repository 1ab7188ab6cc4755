"""What writing in bulk costs the client: ours beside opensearch-py's helpers, in one interleaved run.

Run: ``python -m benchmarks.bench_opensearch_bulk`` against a stub that answers at once (documents per processor second of the client),
with ``--url http://127.0.0.1:9201`` against a real server (documents per second), with ``--memory`` for the peak memory of a client
that streams 1,000,000 documents. ``--documents 2000`` makes a small run of any of them.

Every client sends the same dictionaries in requests of the same size, 2 in flight where it can. The stub is a process of its own, so
the client's processor time is the client's alone; it answers each item as OpenSearch 2.19 does, and leaves out what `filter_path` leaves out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.search.opensearch.writing.bulk import Action, Bulk

ALIAS = "bench-bulk"
DIMS = 384
WORDS = ("meter", "tariff", "ladder", "outage", "storm", "bill", "transformer", "inspection", "crew", "voltage", "customer", "safety")
CLIENTS = ("ours", "helpers.bulk", "helpers.parallel_bulk", "helpers.async_bulk")
REQUEST_ITEMS = 500


class Stub(asyncio.Protocol):
    """Answers `_bulk` without reading more than its line ends."""

    FULL = (
        b'{"index":{"_index":"bench-bulk-000001","_id":"d0000000","_version":1,"result":"created",'
        b'"_shards":{"total":1,"successful":1,"failed":0},"_seq_no":1000,"_primary_term":1,"status":201}}'
    )
    FILTERED = b'{"index":{"status":201}}'

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = transport
        self._head, self._left, self._lines, self._filtered = b"", -1, 0, False

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            self._filtered = b"filter_path" in head
            length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            self._left, self._lines, self._head = int(length.split(b":")[1]), 0, b""
        self._lines += data.count(b"\n")
        self._left -= len(data)
        if self._left <= 0:
            self._answer()

    def _answer(self) -> None:
        items, self._left = self._lines // 2, -1
        body = (
            b'{"errors":false,"items":[' + b",".join([self.FILTERED] * items) + b"]}"
            if self._filtered
            else b'{"took":1,"errors":false,"items":[' + b",".join([self.FULL] * items) + b"]}"
        )
        self._out.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\ncontent-length: %d\r\n\r\n" % len(body) + body)  # type: ignore[attr-defined]  # a TCP transport


def serve_stub(port: Any) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def texts(count: int) -> list[str]:
    rng = random.Random(7)
    return [" ".join(rng.choices(WORDS, k=110)) for _ in range(count)]


def documents(count: int, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, source): some 800 characters and some keywords; with ``vectors`` 384 float32 as numpy has them, with ``lists`` as Python floats."""
    pool = texts(min(count, 500))
    vectors = np.random.default_rng(7).normal(size=(len(pool), DIMS)).astype(np.float32)
    rows: list[Any] = list(vectors) if kind == "vectors" else vectors.tolist()
    for number in range(count):
        at = number % len(pool)
        source: dict[str, Any] = {"kind": "chunk", "tenant": "default", "allow": ["8:default"], "position": number, "title": "Handbook", "text": pool[at]}
        if kind != "text":
            source["vector"] = rows[at]
        yield f"d{number:08d}", source


def search_cfg(url: str) -> SearchCfg:
    return SearchCfg(host=url, index_alias=ALIAS, bulk_actions=REQUEST_ITEMS, bulk_parallel=2)


async def ours(url: str, source: Iterator[tuple[str, dict[str, Any]]]) -> int:
    transport = Transport(search_cfg(url), NetworkPolicy(NetworkCfg()))
    try:
        report = await Bulk(transport, search_cfg(url), ALIAS).run(Action(key, document) for key, document in source)
    finally:
        await transport.aclose()
    assert not report.failed, report.failed[0]
    return report.done


def theirs(url: str, client: str, source: Iterator[tuple[str, dict[str, Any]]]) -> int:
    from opensearchpy import AsyncOpenSearch, OpenSearch, helpers

    actions = ({"_index": ALIAS, "_id": key, "_source": document} for key, document in source)
    options = {"timeout": 120, "max_retries": 0}
    size = {"chunk_size": REQUEST_ITEMS, "max_chunk_bytes": 8_000_000}
    if client == "helpers.bulk":
        return int(helpers.bulk(OpenSearch(url, **options), actions, **size)[0])
    if client == "helpers.parallel_bulk":
        return sum(good for good, _ in helpers.parallel_bulk(OpenSearch(url, maxsize=2, **options), actions, thread_count=2, **size))

    async def run() -> int:
        async with AsyncOpenSearch(url, **options) as opened:
            return int((await helpers.async_bulk(opened, actions, **size))[0])

    return asyncio.run(run())


def once(url: str, client: str, count: int, kind: str) -> tuple[float, float]:
    """(wall, processor) seconds of one load."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = asyncio.run(ours(url, documents(count, kind))) if client == "ours" else theirs(url, client, documents(count, kind))
    assert done == count, (client, done)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(url: str, count: int, kind: str, rounds: int, *, real: bool, before: Callable[[], None]) -> None:
    seconds: dict[str, list[float]] = {client: [] for client in CLIENTS}
    for number in range(rounds + 1):
        for client in random.sample(CLIENTS, len(CLIENTS)):
            before()
            wall, cpu = once(url, client, count if number else min(count, 1000), kind)
            if number:  # the first round warms up imports and connections
                seconds[client].append(wall if real else cpu)
    rates = {client: count / statistics.median(values) for client, values in seconds.items()}
    unit = "documents/s" if real else "documents per processor second"
    print(f"{kind}, {count:,} documents, median of {rounds}: {unit}")
    for client, rate in rates.items():
        print(f"  {client:24}{rate:12,.0f}   ours is {rates['ours'] / rate:5.2f} x")


def one_stub(run: Callable[[str], None]) -> None:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_stub, args=(there,), daemon=True)
    process.start()
    try:
        run(f"http://127.0.0.1:{here.recv()}")
    finally:
        process.terminate()
        process.join()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def stream(url: str, count: int, kind: str) -> None:
    """One run in this process, whose peak memory is what counts."""

    async def source() -> AsyncIterator[Action]:
        for key, document in documents(count, kind):
            yield Action(key, document)

    idle = peak_mib()
    transport = Transport(search_cfg(url), NetworkPolicy(NetworkCfg()))
    began = time.perf_counter()
    report = await Bulk(transport, search_cfg(url), ALIAS).run(source())
    await transport.aclose()
    took = time.perf_counter() - began
    print(
        f"{kind}: {report.done:,} documents streamed, {report.sent_bytes / 1e9:.2f} GB in {report.requests:,} requests, {took:.0f} s; "
        f"peak memory {peak_mib():.0f} MiB (before the run {idle:.0f})"
    )


def prepare(url: str) -> None:
    """An empty index behind the alias, made anew."""
    from src.infra.search_config.indices import index_body

    send(url, "DELETE", f"{ALIAS}-000001")
    body = {
        "settings": {"index": {"number_of_replicas": 0, "refresh_interval": "-1", "knn": True}},
        "mappings": {
            "properties": {name: {"type": "keyword"} for name in ("kind", "tenant", "allow")}
            | {"title": {"type": "text"}, "text": {"type": "text"}, "position": {"type": "integer"}}
            | {"vector": index_body(dims=DIMS, embedder="bench", engine="lucene")["mappings"]["properties"]["vector"]}
        },
        "aliases": {ALIAS: {}},
    }
    answer = send(url, "PUT", f"{ALIAS}-000001", body)
    assert answer.get("acknowledged"), answer


def send(url: str, method: str, path: str, body: Any = None) -> Any:
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    connection.request(method, f"/{path}", json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a real server; without it a stub answers")
    parser.add_argument("--documents", type=int, help="20,000 against the stub, 5,000 against a server, 1,000,000 with --memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=["vectors", "lists", "text"], choices=["vectors", "lists", "text"])
    parser.add_argument("--memory", action="store_true", help="peak memory of one streamed load, in a process of its own for each kind")
    parser.add_argument("--stream-to", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream_to:
        asyncio.run(stream(options.stream_to, options.documents, options.kinds[0]))
    elif options.memory:

        def run(url: str) -> None:
            for kind in options.kinds:
                count = str(options.documents or 1_000_000)
                command = [sys.executable, "-m", "benchmarks.bench_opensearch_bulk", "--stream-to", url, "--documents", count, "--kinds", kind]
                subprocess.run(command, check=True)

        one_stub(run)
    elif options.url:
        for kind in options.kinds:
            compare(options.url, options.documents or 5_000, kind, options.rounds, real=True, before=lambda: prepare(options.url))
        send(options.url, "DELETE", f"{ALIAS}-000001")
    else:

        def run_stub(url: str) -> None:
            for kind in options.kinds:
                compare(url, options.documents or 20_000, kind, options.rounds, real=False, before=lambda: None)

        one_stub(run_stub)


if __name__ == "__main__":
    main()
