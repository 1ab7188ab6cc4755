"""Names of the index's fields. One index holds chunks and, beside them, one record for each document."""

from __future__ import annotations

from typing import Final

KIND: Final = "kind"
"""`chunk` or `document`."""
TENANT: Final = "tenant"
ALLOW: Final = "allow"
"""Access terms (`access.principal_term`) of the document; on both kinds."""
FACETS: Final = "facets"
"""Everything that filters can ask for, each value as one term (`facets.py`); on both kinds."""
DOC_KEY: Final = "doc_key"
"""Hash of tenant and document id; on both kinds. A chunk's `_id` is this and its position, a record's this alone."""
DOC_SORT: Final = "doc_sort"
"""Document id and tenant as one sortable keyword: the order in which documents are listed."""
POSITION: Final = "position"
TITLE: Final = "title"
SECTION: Final = "section"
TEXT: Final = "text"
BODY: Final = "body"
"""Title, section and text of the chunk, segmented; half of its BM25 score."""
CONTEXT: Final = "context"
"""Title and text of up to four chunks either side; the other half. Not kept in `_source`."""
VECTOR: Final = "vector"
PAYLOAD: Final = "payload"
"""All that comes back of a chunk or a document, verbatim; neither parsed nor indexed."""
SHOWN: Final = "shown"
"""The payload of a chunk once more, as JSON in doc values and not in `_source`: what searches read. Beside the vectors in
`_source` it costs 1 ms more for 11 hits, and server fusion, which on one shard fetches every candidate of both legs, takes
28 ms instead of 5 (2 x 200 candidates, 6,000 chunks of 384 dimensions)."""

CHUNK: Final = "chunk"
DOCUMENT: Final = "document"
INTENT: Final = "intent"
"""`kind` of the record of a document whose first write has not ended: it counts as no document."""
FORMAT: Final = 1
"""Version of this layout; stands in the mapping's `_meta`."""
META: Final = "founders_rag"
"""Key in the mapping's `_meta`: {"format", "embedder", "dims", "space", "language"}."""
SPACE: Final = "cosinesimil"
