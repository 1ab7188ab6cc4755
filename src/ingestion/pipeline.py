"""Ingestion: load, chunk, embed, write, as three stages that overlap, with a few documents between them.

A document is written with all its chunks in one transaction and is acknowledged (`Stored`) after that. A document that
cannot be read is reported and the rest goes on; an outage of the index or the model stops the run with what was done.
Documents whose source is gone are not deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from ..core.identity import EVERYONE, AccessScope
from ..errors import DocumentError, IndexMissingError, InputError, RagError
from ..infra.config import IngestionCfg
from ..infra.providers.protocol import Embedder, TokenSpans
from ..infra.search.protocol import DocumentWrite, SearchClient
from ..telemetry import metrics
from ..telemetry.logger import get_logger
from ..telemetry.recording import note
from ..telemetry.stages import operation, stage
from .prepare import Prepared, Target, prepare
from .report import Discovered, Embedded, Ended, Failed, IngestEvent, IngestReport, Noticed, OnEvent, Problem, Stored, Tally, Unchanged, Warned
from .sources.item import SourceItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

EMBED_TEXTS = 64
"""Texts of one call to the embedder: a third of a second of the local model, one request of a remote one."""
_EMBED_CALLS = 2
"""Calls to the embedder under way, so that it has the next texts at hand when it ends the last ones of a call."""
_AHEAD = 4
"""Documents loaded ahead of the embedder: enough to keep it busy, few enough to bound memory."""
_HASHES = 500
"""Documents asked about in one call."""


class Ingestor:
    """Brings documents into an index.

    Args:
        search: the index.
        embedder: the model whose vectors the index holds.
        tokenizer: counts tokens as that model does.
        cfg: chunk sizes and limits.
    """

    def __init__(self, search: SearchClient, embedder: Embedder, tokenizer: TokenSpans, cfg: IngestionCfg) -> None:
        self._search = search
        self._embedder = embedder
        self._tokenizer = tokenizer
        self._cfg = cfg

    def into(self, search: SearchClient) -> Ingestor:
        """The same, into another index."""
        return Ingestor(search, self._embedder, self._tokenizer, self._cfg)

    @operation("ingest")
    async def ingest(self, items: Iterable[SourceItem], *, tenant: str, acl: Sequence[str], on_event: OnEvent | None = None) -> IngestReport:
        """Ingest documents; those that the index holds unchanged are skipped, a changed one replaces what was there. At the
        end searches find all of them.

        Args:
            acl: principals that may see the documents.
            on_event: called from the event loop as things happen; the last event is always `Ended`, which also carries
                the report when the run is stopped by an error or cancelled.

        Raises:
            RagError: an outage of the index or the model; documents acknowledged before stay.
        """
        run = _Run(self._search, self._embedder, self._tokenizer, self._cfg, Target(tenant, tuple(acl), self._embedder.model), on_event)
        return await run.go(list(items))

    async def rehearse(self, items: Iterable[SourceItem], *, tenant: str, acl: Sequence[str]) -> None:
        """Make sure that an index that is emptied now can be filled: a document can be read, and the model embeds. Touches no index.

        Raises:
            InputError: none of the documents can be read.
            RagError: the model cannot be reached, or its vectors are of another length than configured.
        """
        target = Target(tenant, tuple(acl), self._embedder.model)
        reasons: list[str] = []
        for item in items:
            try:
                await _prepare(item, None, target, self._cfg, self._tokenizer)
                break
            except DocumentError as error:
                reasons.append(f"{item.source}: {error}")
        else:
            raise InputError("None of the documents can be read.", hint=" ".join(reasons[:3]))
        # A text of its own: one that the cache of vectors knows would not reach the model.
        await self._embedder.embed([f"Rehearsal {uuid4()}"])


async def _prepare(item: SourceItem, known: str | None, target: Target, cfg: IngestionCfg, tokenizer: TokenSpans) -> Prepared | None:
    """`prepare` in a thread; whatever is wrong with the document is a `DocumentError`."""
    try:
        return await asyncio.to_thread(prepare, item, known, target, cfg, tokenizer)
    except RagError:
        raise
    except Exception as error:  # one document, whatever is wrong with it, never stops the rest
        log.warning("document cannot be prepared", document=item.id, error=type(error).__name__, exc_info=True)
        raise DocumentError(f"The document cannot be prepared ({type(error).__name__}).", reason="broken") from error


class _Run:
    """One call of `Ingestor.ingest`."""

    def __init__(self, search: SearchClient, embedder: Embedder, tokenizer: TokenSpans, cfg: IngestionCfg, target: Target, on_event: OnEvent | None) -> None:
        self._search = search
        self._embedder = embedder
        self._tokenizer = tokenizer
        self._cfg = cfg
        self._target = target
        self._on_event = on_event
        self._tally = Tally()
        self._loaded: asyncio.Queue[Prepared | None] = asyncio.Queue(_AHEAD)
        self._ready: asyncio.Queue[list[tuple[Prepared, DocumentWrite]] | None] = asyncio.Queue(2)

    async def go(self, items: list[SourceItem]) -> IngestReport:
        started = time.perf_counter()
        items = list({item.id: item for item in items}.values())
        self._emit(Discovered(len(items), sum(item.size for item in items)))
        complete = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._load_all(items))
                group.create_task(self._embed_all())
                group.create_task(self._write_all())
            if self._tally.added or self._tally.updated:
                await self._search.refresh()
            complete = True
        except BaseExceptionGroup as problems:
            raise _innermost(problems) from None
        finally:
            report = self._tally.report(time.perf_counter() - started)
            if metrics.recording():
                _count(report, complete)
            self._emit(Ended(report, complete))
            note(tenant=self._target.tenant, counts=report.counts)
        return report

    def _emit(self, event: IngestEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    # ---- load ----

    async def _load_all(self, items: list[SourceItem]) -> None:
        for first in range(0, len(items), _HASHES):
            some = items[first : first + _HASHES]
            known = await self._known([item.id for item in some])
            for item in some:
                prepared = await self._load(item, known.get(item.id))
                if prepared is not None:
                    await self._loaded.put(prepared)
        await self._loaded.put(None)

    async def _known(self, document_ids: list[str]) -> dict[str, str]:
        """Content hashes; none where there is no index yet: the first write makes it, or says why it cannot."""
        try:
            return await self._search.content_hashes(document_ids, self._target.tenant)
        except IndexMissingError:
            return {}

    async def _load(self, item: SourceItem, known: str | None) -> Prepared | None:
        try:
            prepared = await _prepare(item, known, self._target, self._cfg, self._tokenizer)
        except DocumentError as error:
            self._fail(item, error, known is not None)
            return None
        if prepared is None:
            self._tally.unchanged += 1
            self._emit(Unchanged(item.id, item.source, item.size))
        elif prepared.updated:
            return replace(prepared, widened=await self._widens(item.id))
        return prepared

    async def _widens(self, document_id: str) -> bool:
        """Whether a principal of the new access list cannot see the version that is there; members of the tenant hold `EVERYONE` besides."""
        for principal in self._target.acl:
            scope = AccessScope(self._target.tenant, frozenset({principal, EVERYONE}))
            if await self._search.get_document(document_id, scope) is None:
                return True
        return False

    def _fail(self, item: SourceItem, error: DocumentError, known: bool) -> None:
        message = f"{error} The version that was ingested before stays." if known else str(error)
        problem = Problem(item.id, item.source, error.reason, message)
        self._tally.failed.append(problem)
        self._emit(Failed(problem, item.size))

    # ---- embed ----

    async def _embed_all(self) -> None:
        while (first := await self._loaded.get()) is not None:
            group = [first]
            texts = len(first.texts)
            last = False
            while texts < EMBED_TEXTS and not self._loaded.empty():
                following = self._loaded.get_nowait()
                if following is None:
                    last = True
                    break
                group.append(following)
                texts += len(following.texts)
            await self._ready.put(await self._embed(group))
            if last:
                break
        await self._ready.put(None)

    async def _embed(self, group: list[Prepared]) -> list[tuple[Prepared, DocumentWrite]]:
        """Vectors for several small documents, or for one large one slice by slice."""
        import numpy as np

        texts = [text for prepared in group for text in prepared.texts]
        turn = asyncio.Semaphore(_EMBED_CALLS)
        try:
            async with asyncio.TaskGroup() as calls:
                tasks = [calls.create_task(self._embed_some(texts[at : at + EMBED_TEXTS], turn)) for at in range(0, len(texts), EMBED_TEXTS)]
        except BaseExceptionGroup as problems:
            raise _innermost(problems) from None
        joined = np.concatenate([task.result() for task in tasks])
        writes: list[tuple[Prepared, DocumentWrite]] = []
        at = 0
        for prepared in group:
            count = len(prepared.chunks)
            writes.append((prepared, DocumentWrite(prepared.document, prepared.chunks, joined[at : at + count])))
            at += count
        return writes

    async def _embed_some(self, texts: list[str], turn: asyncio.Semaphore) -> NDArray[np.float32]:
        async with turn:
            with stage("ingest.embed", texts=len(texts)):
                vectors = await self._embedder.embed(texts)
            self._emit(Embedded(len(texts)))
        return vectors

    # ---- write ----

    async def _write_all(self) -> None:
        last = False
        while not last and (group := await self._ready.get()) is not None:
            while not self._ready.empty() and not last:
                more = self._ready.get_nowait()
                group, last = group + (more or []), more is None
            batch: list[tuple[Prepared, DocumentWrite]] = []
            for entry in group:
                if batch and _chunk_count(batch) + len(entry[0].chunks) > self._cfg.batch_chunks:
                    await self._write(batch)
                    batch = []
                batch.append(entry)
            await self._write(batch)

    async def _write(self, batch: list[tuple[Prepared, DocumentWrite]]) -> None:
        """Write and acknowledge. Once begun, a write is waited for even when the run is cancelled: what is stored is also told."""
        task: asyncio.Task[None] = asyncio.create_task(self._store([write for _, write in batch]))  # noqa: RUF006 - kept in `task` and awaited below
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                self._acknowledge(batch)
            raise
        self._acknowledge(batch)

    async def _store(self, writes: list[DocumentWrite]) -> None:
        with stage("ingest.write", documents=len(writes)):
            await self._search.write(writes)

    def _acknowledge(self, batch: list[tuple[Prepared, DocumentWrite]]) -> None:
        for prepared, _ in batch:
            item, count = prepared.item, len(prepared.chunks)
            self._tally.chunks += count
            self._tally.updated += prepared.updated
            self._tally.added += not prepared.updated
            self._tally.access_widened += prepared.widened
            self._emit(Stored(item.id, item.source, item.size, count, prepared.updated))
            for message in prepared.warnings:
                warned = Warned(item.id, item.source, message)
                self._tally.warnings.append(warned)
                self._emit(Noticed(warned))


def _count(report: IngestReport, complete: bool) -> None:
    for outcome, documents in (("added", report.added), ("updated", report.updated), ("unchanged", report.unchanged)):
        if documents:
            metrics.count("rag.ingest.documents", documents, {"rag.outcome": outcome})
    for problem in report.failed:
        metrics.count("rag.ingest.documents", 1, {"rag.outcome": "failed", "rag.reason": problem.reason})
    metrics.count("rag.ingest.chunks", report.chunks, {})
    metrics.count("rag.ingest.runs", 1, {"rag.outcome": "complete" if complete else "stopped"})
    if complete:
        metrics.gauge("rag.ingest.ended.timestamp", time.time(), {})


def _chunk_count(batch: list[tuple[Prepared, DocumentWrite]]) -> int:
    return sum(len(prepared.chunks) for prepared, _ in batch)


def _innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a task group: one of ours before any other."""
    flat = [_innermost(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in flat if isinstance(error, RagError)), flat[0])
