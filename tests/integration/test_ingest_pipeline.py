"""Ingestion into the real engine with the real model: what is stored, skipped, replaced, reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from src.core.identity import Identity, access_scope, system_scope
from src.core.search import SearchRequest
from src.errors import StorageFullError
from src.infra.config import IngestionCfg
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.tokenizer import ModelTokenizer
from src.infra.search.embedded import EmbeddedSearch
from src.infra.search.protocol import DocumentWrite
from src.ingestion.loaders.registry import load
from src.ingestion.pipeline import Ingestor
from src.ingestion.report import Discovered, Embedded, Ended, Failed, IngestEvent, IngestReport, Stored
from src.ingestion.sources.item import SourceItem
from src.ingestion.sources.local_files import discover
from src.ingestion.sources.upload import upload_item

EVERYONE = ("tenant:*",)
SCOPE = access_scope(Identity("somebody"))


@pytest.fixture
async def embedder(model_cache: Path) -> AsyncIterator[LocalEmbedder]:
    found = LocalEmbedder(model_cache)
    yield found
    await found.aclose()


@pytest.fixture
async def search(tmp_path: Path, embedder: LocalEmbedder) -> AsyncIterator[EmbeddedSearch]:
    found = EmbeddedSearch(tmp_path / "index", embedder=embedder.model, dims=embedder.dims)
    yield found
    await found.aclose()


@pytest.fixture
def ingestor(search: EmbeddedSearch, embedder: LocalEmbedder, model_cache: Path) -> Ingestor:
    return Ingestor(search, embedder, ModelTokenizer(model_cache), IngestionCfg())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six handbooks of two sections each, over the budget of one chunk together."""
    top = tmp_path / "docs"
    top.mkdir()
    for n in range(6):
        body = " ".join(f"Rule {n}.{k} of the marker{n} handbook tells who opens valve {k} at night." for k in range(12))
        (top / f"handbook-{n}.md").write_text(f"# Handbook {n}\n\n## Valves\n\n{body}\n\n## Doors\n\n{body.replace('valve', 'door')}\n")
    return top


async def run(ingestor: Ingestor, paths: Sequence[str | Path], acl: Sequence[str] = EVERYONE) -> tuple[IngestReport, list[IngestEvent]]:
    events: list[IngestEvent] = []
    report = await ingestor.ingest(discover(paths).items, tenant="default", acl=acl, on_event=events.append)
    return report, events


async def test_every_document_is_whole_in_both_views_and_its_chunks_are_slices(ingestor: Ingestor, search: EmbeddedSearch, folder: Path) -> None:
    report, events = await run(ingestor, [folder])
    info = await search.info()
    assert (report.added, report.updated, report.unchanged, report.failed) == (6, 0, 0, ())
    assert info.documents == 6
    assert info.views == {"lexical": report.chunks, "vector": report.chunks}
    for item in discover([folder]).items:
        text = load(item.read(), item.name).parts[0].text
        chunks = await search.get_chunks(item.id, SCOPE)
        assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
        assert all(chunk.text == text[chunk.start : chunk.end] and chunk.page is None for chunk in chunks)
        assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())
        assert {chunk.section.split(" > ")[-1] for chunk in chunks} == {"Valves", "Doors"}
    assert isinstance(events[0], Discovered)
    assert isinstance(events[-1], Ended)
    assert events[-1].complete
    assert sum(event.chunks for event in events if isinstance(event, Embedded)) == report.chunks


async def test_ingesting_again_changes_nothing(ingestor: Ingestor, search: EmbeddedSearch, folder: Path) -> None:
    await run(ingestor, [folder])
    before = await search.info()
    report, _ = await run(ingestor, [folder, folder / "handbook-1.md"])
    assert (report.stored, report.unchanged, report.chunks) == (0, 6, 0)
    assert await search.info() == before


async def test_a_changed_document_replaces_its_chunks(ingestor: Ingestor, search: EmbeddedSearch, folder: Path) -> None:
    await run(ingestor, [folder])
    (folder / "handbook-3.md").write_text("# Handbook 3\n\nOnly the caretaker opens the hatch.")
    report, _ = await run(ingestor, [folder])
    assert (report.added, report.updated, report.unchanged) == (0, 1, 5)
    assert [chunk.text for chunk in await search.get_chunks(str(folder / "handbook-3.md"), SCOPE)] == ["Handbook 3\n\nOnly the caretaker opens the hatch."]
    assert (await search.search(SearchRequest("marker3", mode="bm25"), SCOPE)).hits == ()
    info = await search.info()
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}


async def test_another_access_list_or_chunk_size_ingests_again(
    ingestor: Ingestor, search: EmbeddedSearch, embedder: LocalEmbedder, model_cache: Path, folder: Path
) -> None:
    await run(ingestor, [folder])
    report, _ = await run(ingestor, [folder], acl=["group:hr"])
    assert report.updated == 6
    assert await search.count(SCOPE) == 0
    assert await search.count(access_scope(Identity("h", groups=("hr",)))) == report.chunks
    smaller = Ingestor(search, embedder, ModelTokenizer(model_cache), IngestionCfg(chunk_tokens=64))
    again, _ = await run(smaller, [folder], acl=["group:hr"])
    assert again.updated == 6
    assert again.chunks > report.chunks


async def test_bad_documents_are_reported_with_their_reason_and_the_rest_goes_on(ingestor: Ingestor, search: EmbeddedSearch, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (folder / "empty.txt").touch()
    (folder / "zip.docx").write_bytes(b"PK\x03\x04 nothing")
    report, events = await run(ingestor, [folder])
    assert report.added == 6
    assert {Path(p.source).name: p.reason for p in report.failed} == {"broken.pdf": "broken", "empty.txt": "empty", "zip.docx": "broken"}
    assert sum(isinstance(event, Failed) for event in events) == 3
    assert (await search.info()).documents == 6


async def test_an_oversized_file_is_not_read(search: EmbeddedSearch, embedder: LocalEmbedder, model_cache: Path) -> None:
    def read() -> bytes:
        raise AssertionError("it was read")

    small = Ingestor(search, embedder, ModelTokenizer(model_cache), IngestionCfg(max_file_bytes=1000))
    report = await small.ingest([SourceItem("a", "a", "a.txt", 1001, read)], tenant="default", acl=EVERYONE)
    assert [problem.reason for problem in report.failed] == ["oversized"]


async def test_a_document_that_breaks_keeps_its_earlier_version_and_the_report_says_so(ingestor: Ingestor, search: EmbeddedSearch, folder: Path) -> None:
    await run(ingestor, [folder])
    (folder / "handbook-2.md").write_bytes(b"")
    report, _ = await run(ingestor, [folder])
    assert [(problem.reason, "stays" in problem.message) for problem in report.failed] == [("empty", True)]
    assert await search.get_chunks(str(folder / "handbook-2.md"), SCOPE)


async def test_a_parser_that_fails_in_its_own_way_stops_nothing(ingestor: Ingestor) -> None:
    def explode() -> bytes:
        raise RuntimeError("boom")

    report = await ingestor.ingest([SourceItem("x", "x", "x.txt", 1, explode), upload_item(b"Still here.", "y.txt")], tenant="default", acl=EVERYONE)
    assert [problem.reason for problem in report.failed] == ["broken"]
    assert report.added == 1


async def test_tenants_do_not_share_documents(ingestor: Ingestor, search: EmbeddedSearch) -> None:
    for tenant in ("one", "two"):
        await ingestor.ingest([upload_item(f"Text of {tenant}.".encode(), "same.txt")], tenant=tenant, acl=EVERYONE)
    assert [chunk.text for chunk in await search.get_chunks("same.txt", access_scope(Identity("u", "one")))] == ["Text of one."]
    assert (await search.info()).documents == 2


class FailsAfter:
    """The real engine until its disk is full."""

    def __init__(self, inner: EmbeddedSearch, writes: int) -> None:
        self._inner = inner
        self._left = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def write(self, documents: Sequence[DocumentWrite]) -> None:
        if self._left == 0:
            raise StorageFullError("The disk is full.")
        self._left -= 1
        await self._inner.write(documents)


async def test_an_outage_stops_the_run_and_tells_what_was_done(search: EmbeddedSearch, embedder: LocalEmbedder, model_cache: Path, folder: Path) -> None:
    failing: Any = FailsAfter(search, 2)
    events: list[IngestEvent] = []
    ingestor = Ingestor(failing, embedder, ModelTokenizer(model_cache), IngestionCfg(batch_chunks=1))
    with pytest.raises(StorageFullError):
        await ingestor.ingest(discover([folder]).items, tenant="default", acl=EVERYONE, on_event=events.append)
    last = events[-1]
    assert isinstance(last, Ended)
    assert (last.report.added, last.complete) == (2, False)
    assert {event.document_id for event in events if isinstance(event, Stored)} == {doc.id for doc in (await search.list_documents(SCOPE)).documents}


@pytest.mark.parametrize("after", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long)])
async def test_a_cancelled_run_has_told_all_that_it_stored(ingestor: Ingestor, search: EmbeddedSearch, folder: Path, after: int) -> None:
    events: list[IngestEvent] = []

    def on_event(event: IngestEvent) -> None:
        events.append(event)
        if sum(isinstance(seen, Embedded) for seen in events) == after:
            task.cancel()

    for n in range(40):
        (folder / f"more-{n:02}.txt").write_text(f"The note {n} " + "is about one more valve. " * 90)
    task = asyncio.create_task(ingestor.ingest(discover([folder]).items, tenant="default", acl=EVERYONE, on_event=on_event))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(events[-1], Ended)
    assert not events[-1].complete
    known = await search.list_documents(system_scope(), limit=1000)
    assert {event.document_id for event in events if isinstance(event, Stored)} == {document.id for document in known.documents}
    report, _ = await run(ingestor, [folder])
    assert report.stored + report.unchanged == 46
    assert report.unchanged == len(known.documents)
