"""Copying a corpus with its vectors from one search engine into another. Nothing is embedded anew.

A copy that was stopped goes on by running it again: what the target holds unchanged it skips by its revision digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from ...core.documents import Document
from ...core.identity import AccessScope, system_scope
from ...errors import PartialResultError
from .protocol import DocumentWrite, SearchClient

_BATCH_CHUNKS = 1000
_BATCH_DOCUMENTS = 500

OnCopied = Callable[[int, int], None]
"""Told how many documents and chunks were handed over so far."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did. ``documents`` and ``chunks`` are those of the source; what the target held unchanged is among them."""

    documents: int
    chunks: int
    deleted: int


async def copy(source: SearchClient, target: SearchClient, *, mirror: bool = False, on_copied: OnCopied | None = None) -> Copied:
    """Write every document of ``source`` into ``target``, all tenants, access lists and vectors as they are.

    Args:
        mirror: also delete documents that only ``target`` has.

    Raises:
        PartialResultError: the target does not hold afterwards what the source gave.
        RagError: an outage of either; what was acknowledged stays, and running it again goes on.
    """
    documents = chunks = 0
    seen: set[bytes] = set()
    writing: asyncio.Task[None] | None = None
    scope = system_scope()
    try:
        async with aclosing(_batches(source, scope)) as batches:
            async for batch in batches:  # the next batch is read while this one is written
                if writing is not None:
                    await writing
                writing = asyncio.create_task(target.write(batch))
                documents += len(batch)
                chunks += sum(len(write.chunks) for write in batch)
                seen |= {_key(write.document) for write in batch}
                if on_copied is not None:
                    on_copied(documents, chunks)
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            await asyncio.wait({writing})
    await target.refresh()
    deleted = await _delete_others(target, seen) if mirror else 0
    if deleted:
        await target.refresh()
    await _check(target, seen, chunks, mirror=mirror)
    return Copied(documents, chunks, deleted)


async def _batches(source: SearchClient, scope: AccessScope) -> AsyncGenerator[list[DocumentWrite], None]:
    batch: list[DocumentWrite] = []
    chunks = 0
    async for write in source.export(scope):
        batch.append(write)
        chunks += len(write.chunks)
        if chunks >= _BATCH_CHUNKS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, chunks = [], 0
    if batch:
        yield batch


async def _check(target: SearchClient, seen: set[bytes], chunks: int, *, mirror: bool) -> None:
    held = await target.info()
    whole = (held.documents, held.chunks) == (len(seen), chunks) if mirror else held.documents >= len(seen) and held.chunks >= chunks
    if not whole:
        raise PartialResultError(
            f"The source gave {len(seen):,} documents with {chunks:,} chunks; the target holds {held.documents:,} with {held.chunks:,}.",
            hint="If something else wrote to either meanwhile, run the copy again.",
        )


async def _delete_others(target: SearchClient, seen: set[bytes]) -> int:
    """Delete what is not among ``seen``; each document by a scope that sees it and no namesake of another tenant."""
    others = [document async for document in _documents(target) if _key(document) not in seen]
    for document in others:
        principals = document.acl
        if not principals:  # visible to nobody: an access list of one that nobody has lets it be deleted alone
            principals = (f"user:{uuid.uuid4()}",)
            await target.write([DocumentWrite(replace(document, acl=principals), (), np.zeros((0, 0), np.float32))])
        await target.delete([document.id], AccessScope(document.tenant, frozenset(principals)))
    return len(others)


async def _documents(client: SearchClient) -> AsyncIterator[Document]:
    cursor = None
    while True:
        page = await client.list_documents(system_scope(), limit=1000, cursor=cursor)
        for document in page.documents:
            yield document
        cursor = page.next_cursor
        if cursor is None:
            return


def _key(document: Document) -> bytes:
    """Sixteen bytes for a document, so that a million of them fit in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (document.tenant, document.id):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
