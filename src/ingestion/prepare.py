"""One document on its way from bytes to chunks that only lack their vectors. Runs in a worker thread; touches no index."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

from ..core.documents import Chunk, Document, chunk_id
from ..errors import DocumentError
from ..infra.config import IngestionCfg
from ..infra.providers.protocol import TokenSpans
from ..telemetry.stages import stage
from .chunking import CHUNKER_VERSION, Passage, chunk_parts, embedding_text
from .loaders.registry import load
from .sources.item import SourceItem
from .titles import readable_stem


@dataclass(frozen=True, slots=True)
class Target:
    """Where documents of one run go, and with which model."""

    tenant: str
    acl: tuple[str, ...]
    embedder: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document to embed and write. ``texts`` are what is embedded, one for each chunk, at least one. ``widened``: somebody
    may see it now who could not see the version that it replaces."""

    item: SourceItem
    document: Document
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]
    warnings: tuple[str, ...]
    updated: bool
    widened: bool = False


def fingerprint(data: bytes, item: SourceItem, target: Target, cfg: IngestionCfg) -> str:
    """SHA-256 (hex) over the bytes and everything else that decides what is stored: equal means nothing would change."""
    settings = {
        "chunker": CHUNKER_VERSION,
        "chunk_tokens": cfg.chunk_tokens,
        "chunk_overlap": cfg.chunk_overlap,
        "embedder": target.embedder,
        "acl": sorted(target.acl),
        "name": item.name,
        "source": item.source,
        "title": item.title,
        "metadata": {key: item.metadata[key] for key in sorted(item.metadata)},
    }
    return hashlib.sha256(hashlib.sha256(data).digest() + json.dumps(settings, sort_keys=True).encode()).hexdigest()


def prepare(item: SourceItem, known: str | None, target: Target, cfg: IngestionCfg, tokens: TokenSpans) -> Prepared | None:
    """Read, parse and cut one document; None if the index holds just this already.

    Args:
        known: its content hash in the index, None if it is not there.

    Raises:
        DocumentError: it cannot be ingested; ``reason`` says why.
    """
    data = _read(item, cfg.max_file_bytes)
    content_hash = fingerprint(data, item, target, cfg)
    if content_hash == known:
        return None
    with stage("ingest.load"):
        parsed = load(data, item.name)
    title = item.title or parsed.title or readable_stem(item.name)
    with stage("ingest.chunk"):
        passages = chunk_parts(parsed.parts, tokens, cfg.chunk_tokens, cfg.chunk_overlap)
        if not passages:
            raise DocumentError("The document holds no text but page headers and footers.", reason="empty")
        spans = lru_cache(maxsize=256)(tokens.spans)
        texts = tuple(embedding_text(title, p.section, p.text, spans, p.tokens) for p in passages)
    document = Document(
        id=item.id,
        tenant=target.tenant,
        title=title,
        source=item.source,
        content_type=parsed.content_type,
        content_hash=content_hash,
        acl=target.acl,
        # The hash of the bytes themselves: the API serves an original only while it still is what was ingested.
        metadata={**parsed.metadata, **item.metadata, "sha256": hashlib.sha256(data).hexdigest()},
    )
    return Prepared(item, document, _chunks(document, passages), texts, parsed.warnings, known is not None)


def _read(item: SourceItem, limit: int) -> bytes:
    if item.size > limit:
        raise _oversized(item.size, limit)
    try:
        data = item.read()
    except OSError as error:
        raise DocumentError(f"The file cannot be read: {error.strerror or error}.", reason="unreadable") from error
    if len(data) > limit:
        raise _oversized(len(data), limit)
    return data


def _oversized(size: int, limit: int) -> DocumentError:
    return DocumentError(f"The file has {size:,} bytes; the limit is {limit:,}.", reason="oversized", setting="ingestion.max_file_bytes")


def _chunks(document: Document, passages: list[Passage]) -> tuple[Chunk, ...]:
    return tuple(
        Chunk(
            id=chunk_id(document.tenant, document.id, position, passage.text),
            document_id=document.id,
            tenant=document.tenant,
            position=position,
            text=passage.text,
            page=passage.page,
            section=passage.section,
            start=passage.start,
            end=passage.end,
        )
        for position, passage in enumerate(passages)
    )
