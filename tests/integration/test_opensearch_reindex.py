"""Reindexing on a real cluster: nothing is lost, whoever writes, deletes or dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from src.core.identity import EVERYONE, AccessScope, system_scope
from src.errors import IndexMissingError, MappingConflictError, RagError
from src.infra.search.opensearch import fields
from src.infra.search.opensearch.reading.documents import Documents
from src.infra.search.opensearch.records import chunk_entries, chunk_key, doc_key, record_entry
from src.infra.search.opensearch.versions.checking import compare
from src.infra.search.opensearch.versions.filling import Filling
from src.infra.search.opensearch.versions.healing import block_writes
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.versions.lifecycle import Lifecycle
from src.infra.search.opensearch.versions.reindex import Reindexer
from src.infra.search.opensearch.writing.bulk import Action, Bulk
from src.infra.search.opensearch.writing.writer import Writer
from src.infra.search.protocol import DocumentWrite
from src.infra.search.revision import digest
from tests.contract.search.builders import write
from tests.integration.opensearch_reindexer import make
from tests.servers.opensearch.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
SCOPE = AccessScope("default", frozenset({EVERYONE}))


def document(number: int, version: int, chunks: int) -> DocumentWrite:
    texts = [f"document {number} version {version} chunk {at} about topic {number % 7}" for at in range(chunks)]
    return write(f"doc-{number:04d}", texts, title=f"Title {number}", metadata={"version": version}, content_hash=f"{number}/{version}")


@pytest.fixture
async def indices(opensearch: Cluster, index_prefix: str) -> AsyncIterator[Indices]:
    made = make(opensearch.url, f"{index_prefix}docs")
    yield made
    await made.transport.aclose()


def writer_of(indices: Indices) -> Writer:
    return Writer(indices.transport, indices, indices.cfg)


async def contents(indices: Indices) -> dict[str, DocumentWrite]:
    await indices.transport.perform("POST", f"/{indices.alias}/_refresh")
    indices.forget()
    found = Documents(indices.transport, indices, indices.cfg).export(system_scope())
    return {item.document.id: item async for item in found}


def assert_same(found: dict[str, DocumentWrite], expected: dict[str, DocumentWrite]) -> None:
    assert sorted(found) == sorted(expected)
    for key, item in expected.items():
        assert found[key].document == item.document, key
        assert found[key].chunks == item.chunks, key
        assert np.array_equal(found[key].vectors.ravel(), item.vectors.ravel()), key


async def test_a_reindex_moves_the_alias_and_keeps_the_old_index(indices: Indices) -> None:
    corpus = {item.document.id: item for item in (document(n, 1, n % 4) for n in range(60))}
    await writer_of(indices).write(list(corpus.values()))
    done = await Reindexer(indices).run()
    assert (done.source, done.target, done.resumed) == (f"{indices.alias}-000001", f"{indices.alias}-000002", False)
    assert (done.checks.documents, done.checks.chunks) == (60, sum(len(item.chunks) for item in corpus.values()))
    assert min(done.checks.agreement.values()) >= 0.9
    assert (await indices.current()).name == done.target
    assert_same(await contents(indices), corpus)
    await Lifecycle(indices).rollback()
    assert_same(await contents(indices), corpus)
    await writer_of(indices).write([document(1, 2, 2)])  # the old index takes writes again


async def test_there_must_be_something_to_reindex(indices: Indices) -> None:
    with pytest.raises(IndexMissingError):
        await Reindexer(indices).run()


async def test_a_reindex_takes_what_the_configuration_says_now(opensearch: Cluster, indices: Indices) -> None:
    await writer_of(indices).write([document(n, 1, 2) for n in range(10)])
    german = make(opensearch.url, indices.alias, language="german")
    await Reindexer(german).run()
    german.forget()
    assert (await german.current()).language == "german"
    await german.transport.aclose()


async def test_a_reindex_puts_a_mapping_right(opensearch: Cluster, indices: Indices) -> None:
    body = indices.body(indices.alias)
    body["mappings"]["properties"]["position"] = {"type": "keyword"}
    opensearch.ask("PUT", f"{indices.alias}-000001", body)
    with pytest.raises(MappingConflictError, match=r"position has type keyword, not integer.*rag index reindex"):
        await indices.current()
    key = doc_key("default", "doc-0001")
    item = document(1, 1, 2)
    revision = digest(item.document, item.chunks, item.vectors).hex()
    entries = {chunk_key(key, at): entry for at, entry in enumerate(chunk_entries(item, item.vectors, revision))}
    entries[key] = record_entry(item.document, chunks=2, revision=revision)
    for name, entry in entries.items():
        await indices.transport.perform("PUT", f"/{indices.alias}/_doc/{name}", body=entry)
    await Reindexer(indices).run()
    assert_same(await contents(indices), {"doc-0001": item})


async def test_an_index_that_lacks_entries_is_not_switched_to(indices: Indices, monkeypatch: pytest.MonkeyPatch) -> None:
    await writer_of(indices).write([document(n, 1, 2) for n in range(30)])

    async def nothing(self: object, *args: object, **options: object) -> int:
        return 0

    monkeypatch.setattr(Filling, "round", nothing)
    with pytest.raises(RagError, match=r"30 documents and 60 chunks.*0 and 0; the alias stays"):
        await Reindexer(indices).run()
    monkeypatch.undo()
    indices.forget()
    state = await indices.current()
    assert (state.number, state.write_blocked) == (1, False)
    assert (await Reindexer(indices).run()).resumed


async def test_an_index_that_answers_otherwise_is_not_switched_to(indices: Indices) -> None:
    await writer_of(indices).write([document(n, 1, 2) for n in range(30)])
    other = Lifecycle(indices)
    building = await other.begin("rebuild")
    aside = make(indices.transport.host, building.alias)
    # As many documents and chunks, but the vectors and words of others.
    await writer_of(aside).write([document(n + 1000, 3, 2) for n in range(30)])
    source, target = (await indices.family()).versions
    assert target.name == building.name
    checks = await compare(indices.transport, source, target, 30)
    assert re.fullmatch(r"of 20 sample questions bm25 keeps 0\.\d\d .*, knn keeps 0\.\d\d .*", checks.problem)
    same = await compare(indices.transport, source, source, 30)
    assert (same.problem, set(same.agreement.values()), set(same.found.values())) == ("", {1.0}, {1.0})
    await aside.transport.aclose()


async def test_a_document_in_the_middle_of_a_write_stays_to_be_made_good(indices: Indices) -> None:
    """A writer that was killed between its steps left a marked record; the new index says so too, and the next write heals it."""
    await writer_of(indices).write([document(1, 1, 3), document(2, 1, 2)])
    state = await indices.current()
    key = doc_key("default", "doc-0001")
    source = (await indices.transport.perform("GET", f"/{state.name}/_doc/{key}"))["_source"]
    source[fields.PAYLOAD] |= {"pending": 5, "writer": "gone"}
    await indices.transport.perform("PUT", f"/{state.name}/_doc/{key}", body=source)
    done = await Reindexer(indices).run()
    moved = (await indices.transport.perform("GET", f"/{done.target}/_doc/{key}"))["_source"]
    assert moved[fields.PAYLOAD]["pending"] == 5
    assert "doc-0001" not in await Documents(indices.transport, indices, indices.cfg).content_hashes(["doc-0001"], "default")
    await writer_of(indices).write([document(1, 2, 1)])
    assert_same(await contents(indices), {"doc-0001": document(1, 2, 1), "doc-0002": document(2, 1, 2)})


async def test_a_writer_waits_for_the_switch_and_lands_in_the_new_index(opensearch: Cluster, indices: Indices) -> None:
    await writer_of(indices).write([document(1, 1, 1)])
    state = await indices.current()
    await block_writes(indices.transport, state.version)
    other = make(opensearch.url, indices.alias)
    waiting = asyncio.create_task(writer_of(other).write([document(2, 1, 1)]))
    await asyncio.sleep(1)
    assert not waiting.done()
    lifecycle = Lifecycle(indices)
    building = await lifecycle.begin("rebuild")
    await lifecycle.publish(building)
    await asyncio.wait_for(waiting, 60)
    assert list(await contents(indices)) == ["doc-0002"]
    await other.transport.aclose()


async def test_a_chunk_meant_for_the_old_index_never_stands_in_the_way_of_the_new_one(indices: Indices) -> None:
    """A writer that slept through the switch sends, through the alias, what it wanted to write into an index of far higher sequence numbers."""
    for version in range(8):
        await writer_of(indices).write([document(n, version, 2) for n in range(20)])
    old = await indices.current()
    await Reindexer(indices).run()
    late = (old.epoch << 40) + 10**6
    key = doc_key("default", "doc-0001")
    stale = {fields.KIND: fields.CHUNK, fields.TENANT: "default", fields.DOC_KEY: key}
    action = Action(chunk_key(key, 0), stale, version=late)
    report = await Bulk(indices.transport, indices.cfg, indices.alias).run([action])
    assert [error.status for error in report.failed] == [409]
    indices.forget()
    await writer_of(indices).write([document(1, 9, 2)])
    assert (await contents(indices))["doc-0001"].chunks == document(1, 9, 2).chunks


# -- writes, deletes and kills


class Traffic:
    """Writers that never stop, and what they were told is stored."""

    def __init__(self, indices: Indices, seed: int) -> None:
        self.expected: dict[str, DocumentWrite] = {}
        self._indices = indices
        self._random = random.Random(seed)
        self._stop = False
        self.writes = 0

    async def fill(self, count: int) -> None:
        for first in range(0, count, 100):
            some = [document(n, 0, self._random.randint(0, 4)) for n in range(first, min(first + 100, count))]
            await writer_of(self._indices).write(some)
            self.expected |= {item.document.id: item for item in some}

    async def run(self, writer_number: int, of: int) -> None:
        """Each writer has documents of its own: what it was told last is what must be there."""
        writer, at = writer_of(self._indices), 0
        while not self._stop:
            at += 1
            number = self._random.randrange(0, 400) * of + writer_number
            item = document(number, at, self._random.randint(0, 5))
            if self._random.random() < 0.25:
                await writer.delete([item.document.id], SCOPE)
                self.expected.pop(item.document.id, None)
            else:
                await writer.write([item])
                self.expected[item.document.id] = item
            self.writes += 1

    def stop(self) -> None:
        self._stop = True


async def reindexing(url: str, alias: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.opensearch_reindexer",
        url,
        alias,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def killed(process: asyncio.subprocess.Process, moment: int) -> bool:
    """Kill it right after the given line of its progress, or let it end; whether the kill came in time."""
    assert process.stdout is not None
    for _ in range(moment):
        line = await process.stdout.readline()
        if not line or line.startswith(b"done"):
            break
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    return process.returncode == -signal.SIGKILL


async def ended(process: asyncio.subprocess.Process) -> str:
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().splitlines()[-1]


async def round_of_kills(opensearch: Cluster, indices: Indices, seed: int) -> None:
    chance = random.Random(seed)
    traffic = Traffic(indices, seed)
    await traffic.fill(600)
    tasks = [asyncio.create_task(traffic.run(number, 3)) for number in range(3)]
    try:
        for _ in range(3):
            process = await reindexing(opensearch.url, indices.alias)
            await asyncio.sleep(chance.uniform(0, 0.3))
            await killed(process, chance.randint(1, 4))
        last = await ended(await reindexing(opensearch.url, indices.alias))
        await asyncio.sleep(0.5)
    finally:
        traffic.stop()
        await asyncio.gather(*tasks)
    assert last.startswith("done")
    indices.forget()
    assert (await indices.current()).number > 1
    assert_same(await contents(indices), traffic.expected)
    print(f"seed {seed}: {traffic.writes} writes meanwhile; {last}")


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_nothing_is_lost_when_reindexes_are_killed_while_others_write_and_delete(opensearch: Cluster, indices: Indices, seed: int) -> None:
    await round_of_kills(opensearch, indices, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 23))
async def test_nothing_is_lost_in_twenty_rounds(opensearch: Cluster, indices: Indices, seed: int) -> None:
    await round_of_kills(opensearch, indices, seed)
