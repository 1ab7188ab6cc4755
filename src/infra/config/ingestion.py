"""`[ingestion]`."""

from __future__ import annotations

from pydantic import Field

from .section import Section


class IngestionCfg(Section):
    """`[ingestion]`: reading documents into the index."""

    chunk_tokens: int = Field(250, ge=32, le=250, description="Largest chunk, in tokens of the embedding model.")
    chunk_overlap: int = Field(0, ge=0, le=100, description="Tokens of the chunk before that are repeated.")
    max_file_bytes: int = Field(100_000_000, ge=1, description="Larger files are reported as oversized.")
    batch_chunks: int = Field(256, ge=1, description="Chunks written together at most; a document is never split over batches.")
