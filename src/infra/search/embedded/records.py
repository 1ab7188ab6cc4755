"""How documents and chunks are laid down in SQLite rows, and read back. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from ....core.documents import Chunk, Document, Metadata
from ....core.search import Hit
from .. import comparing


def to_sql(text: str) -> str | bytes:
    """SQLite's text must be UTF-8; a string with lone surrogates (a path that is not UTF-8) is kept as bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def sql_value(value: Any) -> Any:
    """A comparable value (`comparing.Comparable`) as SQLite compares it."""
    return to_sql(value) if isinstance(value, str) else value


def facets(document: Document) -> Iterator[tuple[str | bytes, int, Any]]:
    """Rows of the table ``facets``, without the document."""
    for field, kind, value in comparing.facets(document):
        yield to_sql(field), kind, sql_value(value)


def from_sql(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


def load_metadata(text: str) -> Metadata:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()} if text != "{}" else {}


def chunk_crc(chunk_id: str, position: int, text: str, page: int | None, section: str, start: int, end: int) -> int:
    """Guards the stored chunk: SQLite notices a broken page only where its own structure breaks."""
    head = f"{chunk_id}\0{position}\0{page}\0{section}\0{start}\0{end}\0"
    return zlib.crc32(text.encode("utf-8", "surrogatepass"), zlib.crc32(head.encode("utf-8", "surrogatepass")))


def document_crc(values: Sequence[str]) -> int:
    return zlib.crc32("\0".join(values).encode("utf-8", "surrogatepass"))


def read_document(row: Sequence[Any]) -> Document | None:
    """A document from its nine columns in `schema.SELECT_DOCUMENT`; None where its checksum disagrees."""
    texts = [from_sql(value) for value in row[:8]]
    if document_crc(texts) != row[8]:
        return None
    return Document(
        id=texts[0],
        tenant=texts[1],
        title=texts[2],
        source=texts[3],
        content_type=texts[4],
        content_hash=texts[5],
        acl=tuple(json.loads(texts[6])),
        metadata=load_metadata(texts[7]),
    )


def read_chunk(row: Sequence[Any], document: Document) -> Chunk | None:
    """A chunk from the columns of `schema.SELECT_CHUNKS`; None where its checksum disagrees."""
    chunk_id, text, section = from_sql(row[0]), from_sql(row[2]), from_sql(row[4])
    _, position, _, page, _, start, end, crc = row
    if chunk_crc(chunk_id, position, text, page, section, start, end) != crc:
        return None
    return Chunk(chunk_id, document.id, document.tenant, position, text, page, section, start, end)


def make_hit(chunk: Chunk, document: Document, score: float, legs: dict[str, float]) -> Hit:
    return Hit(
        chunk_id=chunk.id,
        document_id=document.id,
        title=document.title,
        text=chunk.text,
        source=document.source,
        score=score,
        legs=legs,
        page=chunk.page,
        section=chunk.section,
        start=chunk.start,
        end=chunk.end,
        position=chunk.position,
        metadata=document.metadata,
    )
