"""What changes the truth: documents come, are replaced, go. All of it inside `Truth.transaction`, with the write lock held."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ....core.documents import Chunk, Document
from .. import revision
from ..protocol import DocumentWrite
from . import records
from .truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TOMBSTONES = 50_000


def adopt(truth: Truth, embedder: str, dims: int) -> None:
    """Take another embedder's identity; for an index without documents."""
    truth.save(replace(truth.state(), embedder=embedder, dims=dims))


def clear(truth: Truth, embedder: str, dims: int) -> None:
    """Delete everything and take ``embedder``; views older than now are rebuilt."""
    for table in ("facets", "vectors", "chunks", "documents", "tombstones"):
        truth.run(f"DELETE FROM {table}")  # noqa: S608 - our own table names
    seq = truth.state().seq + 1
    truth.save(replace(truth.state(), embedder=embedder, dims=dims, seq=seq, horizon=seq, chunks=0))


def put(truth: Truth, write: DocumentWrite, vectors: NDArray[np.float32]) -> bool:
    """Insert or replace one document inside `transaction`; False where nothing changed."""
    document = write.document
    tenant, key = records.to_sql(document.tenant), records.to_sql(document.id)
    digest = revision.digest(document, write.chunks, vectors)
    known = truth.one("SELECT ord, digest FROM documents WHERE tenant = ? AND id = ?", (tenant, key))
    if known is not None and known[1] == digest:
        return False
    if known is not None:
        drop(truth, known[0])
    state = truth.state()
    _insert_document(truth, document, state.seq + 1, digest)
    _insert_chunks(truth, write.chunks, vectors, state.seq + 1)
    truth.save(replace(state, seq=state.seq + 1 + len(write.chunks), chunks=state.chunks + len(write.chunks)))
    return True


def _insert_document(truth: Truth, document: Document, ordinal: int, digest: bytes) -> None:
    principals, metadata = revision.acl_key(document.acl), revision.dump_metadata(document.metadata)
    tenant = records.to_sql(document.tenant)
    truth.run("INSERT OR IGNORE INTO acls (tenant, principals) VALUES (?, ?)", (tenant, principals))
    (acl,) = truth.one("SELECT id FROM acls WHERE tenant = ? AND principals = ?", (tenant, principals)) or (0,)
    texts = (document.id, document.tenant, document.title, document.source, document.content_type, document.content_hash)
    crc = records.document_crc((*texts, principals, metadata))
    sql_texts = [records.to_sql(text) for text in texts]
    truth.run(
        "INSERT INTO documents (ord, id, tenant, title, source, content_type, content_hash, acl, metadata, digest, crc) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (ordinal, *sql_texts, acl, metadata, digest, crc),
    )
    truth.many("INSERT INTO facets (field, kind, value, doc) VALUES (?, ?, ?, ?)", ((*facet, ordinal) for facet in records.facets(document)))


def _insert_chunks(truth: Truth, chunks: Sequence[Chunk], vectors: NDArray[np.float32], ordinal: int) -> None:
    rows = []
    for number, chunk in enumerate(chunks, start=ordinal + 1):
        crc = records.chunk_crc(chunk.id, chunk.position, chunk.text, chunk.page, chunk.section, chunk.start, chunk.end)
        text, section = records.to_sql(chunk.text), records.to_sql(chunk.section)
        rows.append((number, ordinal, records.to_sql(chunk.id), chunk.position, text, chunk.page, section, chunk.start, chunk.end, crc))
    truth.many("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    blobs = (vector.tobytes() for vector in vectors)
    truth.many("INSERT INTO vectors VALUES (?, ?, ?)", ((ordinal + 1 + at, zlib.crc32(blob), blob) for at, blob in enumerate(blobs)))


def drop(truth: Truth, ordinal: int) -> None:
    """Delete one document inside `transaction`, leaving tombstones for the views."""
    rows = [row for (row,) in truth.all("SELECT row FROM chunks WHERE doc = ? ORDER BY row", (ordinal,))]
    state = truth.state()
    truth.many("INSERT INTO tombstones (seq, row) VALUES (?, ?)", ((state.seq + 1 + at, row) for at, row in enumerate(rows)))
    truth.run("DELETE FROM documents WHERE ord = ?", (ordinal,))
    truth.save(replace(state, seq=state.seq + max(len(rows), 1), chunks=state.chunks - len(rows)))


def forget_tombstones(truth: Truth, upto: int) -> None:
    """Drop tombstones that every view has seen, once there are many."""
    count = truth.one("SELECT count(*) FROM tombstones")
    if count is not None and count[0] > MAX_TOMBSTONES:
        with truth.transaction():
            truth.run("DELETE FROM tombstones WHERE seq <= ?", (upto,))
            state = truth.state()
            truth.save(replace(state, horizon=max(state.horizon, upto)))
