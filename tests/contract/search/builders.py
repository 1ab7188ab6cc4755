"""Small corpora for the search suites: documents, vectors, and a brute-force oracle of what a request may see."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.core.documents import Chunk, Document, chunk_id
from src.core.identity import DEFAULT_TENANT, EVERYONE, AccessScope, Identity, access_scope, system_scope
from src.core.search import AnyOf, Exists, Filter, Range
from src.infra.search.protocol import DocumentWrite

DIMS = 16
EMBEDDER = "test-model/1"
MEMBER = access_scope(Identity("ann", groups=("board",)))
SYSTEM = system_scope()


def vector_of(text: str, dims: int = DIMS) -> NDArray[np.float32]:
    """A unit vector that follows from the text: words in common bring texts nearer."""
    total = np.zeros(dims)
    for word in re.findall(r"\w+", text.lower()) or [text]:
        seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        total += np.random.default_rng(seed).normal(size=dims)
    return (total / np.linalg.norm(total)).astype(np.float32)


def write(
    document_id: str,
    texts: Sequence[str],
    *,
    tenant: str = DEFAULT_TENANT,
    title: str = "",
    acl: Sequence[str] = (EVERYONE,),
    metadata: Mapping[str, Any] | None = None,
    pages: Sequence[int | None] | None = None,
    sections: Sequence[str] | None = None,
    content_hash: str = "hash",
) -> DocumentWrite:
    """A document whose chunks are ``texts``."""
    document = Document(document_id, tenant, title, f"/files/{document_id}", "text/plain", content_hash, tuple(acl), metadata or {})
    chunks = tuple(
        Chunk(
            chunk_id(tenant, document_id, at, text),
            document_id,
            tenant,
            at,
            text,
            pages[at] if pages else None,
            sections[at] if sections else "",
            at * 100,
            at * 100 + len(text),
        )
        for at, text in enumerate(texts)
    )
    vectors = np.stack([vector_of(text) for text in texts]) if texts else np.zeros((0, DIMS), np.float32)
    return DocumentWrite(document, chunks, vectors)


@dataclass
class Oracle:
    """What an index must hold, kept in a dictionary."""

    documents: dict[tuple[str, str], DocumentWrite]

    def put(self, item: DocumentWrite) -> None:
        self.documents[item.document.tenant, item.document.id] = item

    def delete(self, document_ids: Sequence[str], scope: AccessScope) -> int:
        gone = [key for key, item in self.documents.items() if key[1] in set(document_ids) and may_see(item.document, scope)]
        for key in gone:
            del self.documents[key]
        return len(gone)

    def visible(self, scope: AccessScope, filters: Sequence[Filter] = ()) -> dict[str, tuple[Chunk, Document]]:
        return {
            chunk.id: (chunk, item.document)
            for item in self.documents.values()
            if may_see(item.document, scope)
            for chunk in item.chunks
            if all(passes(one, chunk, item.document) for one in filters)
        }


def may_see(document: Document, scope: AccessScope) -> bool:
    return scope.system or (document.tenant == scope.tenant and bool(scope.principals & set(document.acl)))


def values_of(field: str, chunk: Chunk, document: Document) -> list[Any]:
    if field in ("page", "section"):
        value = getattr(chunk, field)
        return [] if value in (None, "") else [value]
    if field in ("document_id", "title", "source", "content_type"):
        value = document.id if field == "document_id" else getattr(document, field)
        return [value] if value else []
    if field not in document.metadata:
        return []
    held = document.metadata[field]
    return list(held) if isinstance(held, tuple) else [held]


def passes(item: Filter, chunk: Chunk, document: Document) -> bool:
    held = values_of(item.field, chunk, document)
    if isinstance(item, Exists):
        return bool(held) is item.present
    if isinstance(item, AnyOf):
        return any(equal(stored, asked) for stored in held for asked in item.values)
    return any(within(stored, item) for stored in held)


def number_of(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"[+-]?\d+(\.\d+)?", value) else None
    return value


def equal(stored: Any, asked: Any) -> bool:
    if isinstance(stored, bool):
        return stored is asked or asked == ("true" if stored else "false")
    if isinstance(stored, str):
        spelled = {True: "true", False: "false"}[asked] if isinstance(asked, bool) else str(asked)
        return stored == spelled or (isinstance(asked, float) and asked.is_integer() and stored == str(int(asked)))
    return not isinstance(asked, bool) and number_of(asked) is not None and stored == number_of(asked)


def within(stored: Any, item: Range) -> bool:
    if isinstance(stored, bool):
        return False
    bounds = {"gt": item.gt, "gte": item.gte, "lt": item.lt, "lte": item.lte}
    given = {name: value for name, value in bounds.items() if value is not None}
    if isinstance(stored, str):
        if not all(isinstance(value, str) for value in given.values()):
            return False
    else:
        given = {name: number_of(value) for name, value in given.items()}
        if any(value is None for value in given.values()):
            return False
    tests = {"gt": lambda bound: stored > bound, "gte": lambda bound: stored >= bound, "lt": lambda bound: stored < bound, "lte": lambda bound: stored <= bound}
    return all(tests[name](bound) for name, bound in given.items())
