"""What a source hands to the pipeline: a document that is not read yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...core.documents import MetadataValue


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One document to ingest.

    Attributes:
        id: becomes ``Document.id``: for files the absolute path.
        source: where it is, for people.
        name: file name with extension, from which format and title may follow.
        size: in bytes, as known before reading; what is over the limit is never read.
        read: returns the bytes; may raise ``OSError`` or ``DocumentError``. Called in a worker thread.
        title: replaces the document's own.
    """

    id: str
    source: str
    name: str
    size: int
    read: Callable[[], bytes]
    title: str = ""
    metadata: Mapping[str, MetadataValue | tuple[MetadataValue, ...]] = field(default_factory=dict)
