"""Documents and their chunks, as every floor passes them on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

MetadataValue = str | int | float | bool
Metadata = Mapping[str, MetadataValue | tuple[MetadataValue, ...]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it was ingested.

    Attributes:
        id: stable within its tenant; from the command line the absolute path, from the API what the caller gave.
        source: where it came from, for people: a path or a URL.
        content_hash: SHA-256 (hex) of the bytes, to tell a changed document from a known one.
        acl: principals that may see it; empty means nobody.
        metadata: what filters can ask for, beside the fields named in ``FILTER_FIELDS``.
    """

    id: str
    tenant: str
    title: str
    source: str
    content_type: str
    content_hash: str
    acl: tuple[str, ...]
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage of a document.

    Attributes:
        position: 0-based place in the document.
        text: the passage, verbatim from the document's text: ``document_text[start:end]``.
        page: 1-based page, where the format has pages.
        section: the heading path, such as ``Safety > Ladders``; empty where there is none.
        start, end: character offsets into the page's text where the format has pages, else into the document's text.
    """

    id: str
    document_id: str
    tenant: str
    position: int
    text: str
    page: int | None = None
    section: str = ""
    start: int = 0
    end: int = 0


FILTER_FIELDS = ("document_id", "title", "source", "content_type", "page", "section")
"""Filterable on every document or chunk; any other name is looked up in the document's metadata."""


def chunk_id(tenant: str, document_id: str, position: int, text: str) -> str:
    """A pure function of tenant, document, position and text: ingesting the same twice changes nothing (32 hex digits)."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (tenant, document_id, str(position), text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
