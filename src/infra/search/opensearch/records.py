"""How documents and chunks are laid down in OpenSearch, and read back. Pure.

Two kinds of entries in one index (names: `fields.py`). A chunk's `_id` is its document's key and its place in the write, so
that writing a document again replaces chunk by chunk; a document's record has the key alone. Everything that is given
back stands verbatim in `payload`, which the server neither parses nor indexes. JSON cannot say everything that Python
can, so inside a payload an object stands for what it cannot: ``{"bytes": base64}`` a text with lone surrogates, ``{"int":
hexadecimal}`` an integer beyond 64 bits, ``{"float": name}`` a number that is not finite.

A record with ``pending`` belongs to a write that has not ended (``writer`` says which): up to that many chunks may be
there, of either revision.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ....core.documents import Chunk, Document, Metadata
from ....core.search import Hit
from ..access import principal_term
from ..protocol import DocumentWrite
from ..text import segment_document
from . import fields
from .facets import document_terms, own_terms
from .wire.serializer import dumps, loads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTEXT_CHUNKS: Final = 4
"""Chunks either side that count as surroundings, as in the embedded engine (`embedded/lexical.py` has the figures)."""
_MAX_SORT_BYTES: Final = 8_000
"""Of the document id and of the tenant in the sort key; Lucene's longest term has 32,766."""
_MAX_TENANT_BYTES: Final = 1_000
_LAST: Final = "\U0010ffff"
"""Sorts after all text, as bytes do in SQLite."""
_INT64: Final = 1 << 63

Entry = dict[str, Any]
"""What is indexed: `_source` of one entry."""
Payload = Mapping[str, Any]


# -- keys


def doc_key(tenant: str, document_id: str) -> str:
    """`_id` of a document's record (32 hex digits), whatever stands in the document's own id."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (tenant, document_id):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def chunk_key(key: str, position: int) -> str:
    """`_id` of the chunk at this place in the write of the document with this key."""
    return f"{key}-{position}"


def sort_key(document_id: str, tenant: str) -> str:
    """Sorts, by code points or UTF-8 bytes, as (document id, tenant) does in the embedded engine."""
    return f"{sort_prefix(document_id)}{_sortable(tenant)}"


def sort_prefix(document_id: str) -> str:
    """What the sort keys of a document id begin with, whatever the tenant."""
    return f"{_sortable(document_id)}\0\1"


def _sortable(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")[:_MAX_SORT_BYTES]
    if _is_unicode(text):
        return data.decode("utf-8", "ignore").replace("\0", "\0\2")
    return f"{_LAST}{data.hex()}"


def tenant_term(tenant: str) -> str:
    """How a tenant is indexed: two different ones never give the same term."""
    data = tenant.encode("utf-8", "surrogatepass")
    if len(data) <= _MAX_TENANT_BYTES and not tenant.startswith("#") and _is_unicode(tenant):
        return tenant
    return f"#{hashlib.blake2b(data).hexdigest()}"


# -- what is indexed


def access_terms(document: Document) -> list[str]:
    return [principal_term(document.tenant, principal) for principal in sorted(set(document.acl))]


def chunk_entries(write: DocumentWrite, vectors: NDArray[np.float32], revision: str) -> Iterator[Entry]:
    """One entry for each chunk, in order.

    Args:
        vectors: as `requests.checked_vectors` gives them.
        revision: of the whole document; each chunk carries it.
    """
    document, chunks = write.document, write.chunks
    texts = [segment_document(chunk.text) for chunk in chunks]
    title = segment_document(document.title)
    terms = document_terms(document)
    common = {
        fields.KIND: fields.CHUNK,
        fields.TENANT: tenant_term(document.tenant),
        fields.ALLOW: access_terms(document),
        fields.DOC_KEY: doc_key(document.tenant, document.id),
        fields.TITLE: _clean(document.title),
    }
    about = {"document": _pack(document.id), "tenant": _pack(document.tenant), "title": _pack(document.title), "source": _pack(document.source)}
    metadata = _pack_metadata(document.metadata)
    for at, chunk in enumerate(chunks):
        payload = _chunk_payload(chunk) | about | {"metadata": metadata, "revision": revision}
        entry = common | {
            fields.POSITION: at,
            fields.FACETS: [*terms, *own_terms(chunk)],
            fields.SECTION: _clean(chunk.section),
            fields.TEXT: _clean(chunk.text),
            fields.BODY: " ".join((title, segment_document(chunk.section), texts[at])),
            fields.CONTEXT: " ".join((title, *texts[max(0, at - CONTEXT_CHUNKS) : at + CONTEXT_CHUNKS + 1])),
            fields.PAYLOAD: payload,
        }
        entry[fields.SHOWN] = _shown(payload)
        _put_vector(entry, payload, vectors[at])
        yield entry


def chunk_copies(chunks: Mapping[int, Entry]) -> Iterator[tuple[int, Entry]]:
    """Chunk entries of one document by place, to be indexed again as they lie there, each with its own revision and access list.

    What an index does not keep in `_source` is made anew. Surroundings are the chunks of the same revision: the words of
    another one may not be for those who may see this one.
    """
    texts = {at: segment_document(_unpack(entry[fields.PAYLOAD]["text"])) for at, entry in chunks.items()}
    revisions = {at: entry[fields.PAYLOAD]["revision"] for at, entry in chunks.items()}
    for at, entry in chunks.items():
        payload = entry[fields.PAYLOAD]
        near = [texts[other] for other in sorted(texts) if abs(other - at) <= CONTEXT_CHUNKS and revisions[other] == revisions[at]]
        yield at, entry | {fields.CONTEXT: " ".join((segment_document(_unpack(payload["title"])), *near)), fields.SHOWN: _shown(payload)}


def _put_vector(entry: Entry, payload: dict[str, Any], vector: NDArray[np.float32]) -> None:
    """No engine for cosine similarity takes a vector without length: it stays out of the graph, and is found by words alone."""
    if float(vector @ vector) > 0.0:
        entry[fields.VECTOR] = vector
    elif vector.any():  # its squares vanish in float32
        payload["vector"] = vector.tolist()


def _chunk_payload(chunk: Chunk) -> dict[str, Any]:
    return {
        "id": _pack(chunk.id),
        "position": _pack(chunk.position),
        "text": _pack(chunk.text),
        "page": _pack(chunk.page),
        "section": _pack(chunk.section),
        "start": _pack(chunk.start),
        "end": _pack(chunk.end),
    }


def record_entry(document: Document, *, chunks: int, revision: str) -> Entry:
    """The record of a document that is there, whole."""
    return {
        fields.KIND: fields.DOCUMENT,
        fields.TENANT: tenant_term(document.tenant),
        fields.ALLOW: access_terms(document),
        fields.FACETS: document_terms(document),
        fields.DOC_KEY: doc_key(document.tenant, document.id),
        fields.DOC_SORT: sort_key(document.id, document.tenant),
        fields.PAYLOAD: _record_payload(document) | {"chunks": chunks, "revision": revision},
    }


def intent_entry(document: Document, *, pending: int, writer: str) -> Entry:
    """The record of a document that was never there, while it is being written: it counts as none, and nobody may see it."""
    return {
        fields.KIND: fields.INTENT,
        fields.TENANT: tenant_term(document.tenant),
        fields.DOC_KEY: doc_key(document.tenant, document.id),
        fields.PAYLOAD: _record_payload(document) | {"pending": pending, "writer": writer},
    }


def pending_entry(record: Entry, pending: int, writer: str = "") -> Entry:
    """A record as it stands in the index, marked as being written: readers still see the old document."""
    return record | {fields.PAYLOAD: {**record[fields.PAYLOAD], "pending": pending, "writer": writer}}


def _record_payload(document: Document) -> dict[str, Any]:
    return {
        "id": _pack(document.id),
        "tenant": _pack(document.tenant),
        "title": _pack(document.title),
        "source": _pack(document.source),
        "content_type": _pack(document.content_type),
        "content_hash": _pack(document.content_hash),
        "acl": [_pack(principal) for principal in sorted(set(document.acl))],
        "metadata": _pack_metadata(document.metadata),
    }


# -- what comes back


def document_from(payload: Payload) -> Document:
    """The document of a record's payload, an intent's too."""
    return Document(
        id=_unpack(payload["id"]),
        tenant=_unpack(payload["tenant"]),
        title=_unpack(payload["title"]),
        source=_unpack(payload["source"]),
        content_type=_unpack(payload["content_type"]),
        content_hash=_unpack(payload["content_hash"]),
        acl=tuple(_unpack(principal) for principal in payload["acl"]),
        metadata=_unpack_metadata(payload["metadata"]),
    )


def id_from(payload: Payload) -> str:
    """The document id of a record's payload."""
    found: str = _unpack(payload["id"])
    return found


def content_hash_from(payload: Payload) -> str:
    found: str = _unpack(payload["content_hash"])
    return found


def chunk_from(payload: Payload) -> Chunk:
    """The chunk of a chunk's payload."""
    return Chunk(
        id=_unpack(payload["id"]),
        document_id=_unpack(payload["document"]),
        tenant=_unpack(payload["tenant"]),
        position=_unpack(payload["position"]),
        text=_unpack(payload["text"]),
        page=_unpack(payload["page"]),
        section=_unpack(payload["section"]),
        start=_unpack(payload["start"]),
        end=_unpack(payload["end"]),
    )


def hit_from(payload: Payload, score: float, legs: Mapping[str, float]) -> Hit:
    """The hit of a chunk's payload."""
    if dict in map(type, payload.values()):  # rare: to ask each value by itself takes twice as long
        payload = {name: _unpack(value) for name, value in payload.items()}
    return Hit(
        payload["id"],
        payload["document"],
        payload["title"],
        payload["text"],
        payload["source"],
        score,
        legs,
        payload["page"],
        payload["section"],
        payload["start"],
        payload["end"],
        payload["position"],
        _unpack_metadata(payload["metadata"]),
    )


def _shown(payload: Payload) -> str:
    return base64.b64encode(dumps({name: value for name, value in payload.items() if name != "vector"})).decode()


def shown_from(values: Sequence[str]) -> list[Payload]:
    """The payloads of chunks, from the doc values that searches read, in order."""
    # The server leaves the padding out; more than is needed does no harm. Parsed as one array: 25 us for ten, 45 one by one.
    payloads: list[Payload] = loads(b"[" + b",".join([binascii.a2b_base64(value + "==") for value in values]) + b"]")
    return payloads


def vectors_from(entries: Sequence[Entry], dims: int) -> NDArray[np.float32]:
    """The vectors of chunk entries, float32, shape (entries, dims), bit for bit as they were written."""
    import numpy as np

    none = [0.0] * dims
    rows = [entry.get(fields.VECTOR) or entry[fields.PAYLOAD].get("vector") or none for entry in entries]
    return np.array(rows, dtype=np.float32).reshape(len(rows), dims)


# -- what JSON cannot say


def _pack(value: Any) -> Any:
    if isinstance(value, str):
        return value if _is_unicode(value) else {"bytes": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else {"int": hex(value)}
    return value if math.isfinite(value) else {"float": repr(value)}


def _unpack(value: Any) -> Any:
    if type(value) is not dict:
        return value
    ((kind, spelled),) = value.items()
    if kind == "bytes":
        return base64.b64decode(spelled).decode("utf-8", "surrogatepass")
    return int(spelled, 16) if kind == "int" else float(spelled)


def _pack_metadata(metadata: Metadata) -> list[list[Any]]:
    """Pairs instead of an object: any text can be a key."""
    return [[_pack(key), [_pack(item) for item in value] if isinstance(value, tuple | list) else _pack(value)] for key, value in metadata.items()]


def _unpack_metadata(pairs: Sequence[Sequence[Any]]) -> Metadata:
    return {name if type(name) is str else _unpack(name): value if type(value) is str else _unpack_value(value) for name, value in pairs}


def _unpack_value(value: Any) -> Any:
    return tuple(map(_unpack, value)) if type(value) is list else _unpack(value)


def _clean(text: str) -> str:
    """Text that any server takes: lone surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
