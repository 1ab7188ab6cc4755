"""Documents with their chunks and vectors, read from the truth alone, in the reader's thread."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from ....core.identity import AccessScope
from ..access import visible
from ..protocol import DocumentWrite
from .failures import corrupt
from .session import Session
from .truth import Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAGE_CHUNKS = 500
"""Chunks read at a time: about 2 MB; other readers wait for one page at most."""
_PAGE_DOCUMENTS = 500

_SELECT_VECTORS = "SELECT v.vector, v.crc FROM chunks c JOIN vectors v ON v.row = c.row WHERE c.doc = ? ORDER BY c.position, c.row"
"""In the order of `schema.SELECT_CHUNKS`."""


def export_page(session: Session, scope: AccessScope, after: tuple[str, str], dims: int) -> list[DocumentWrite]:
    """The next visible documents behind (id, tenant), whole, as one committed state has them; empty at the end."""
    found: list[DocumentWrite] = []
    chunks = 0
    with session.truth.snapshot() as state:
        session.check(state)
        for ordinal, _, document in session.truth.walk_documents(None if scope.system else scope.tenant, after):
            if not visible(document, scope):
                continue
            held = session.truth.chunks_of(ordinal, document)
            found.append(DocumentWrite(document, held, _vectors(session.truth, ordinal, len(held), dims)))
            chunks += len(held)
            if chunks >= _PAGE_CHUNKS or len(found) >= _PAGE_DOCUMENTS:
                break
    return found


def _vectors(truth: Truth, ordinal: int, count: int, dims: int) -> NDArray[np.float32]:
    rows = truth.all(_SELECT_VECTORS, (ordinal,))
    if len(rows) != count or any(zlib.crc32(blob) != crc or len(blob) != 4 * dims for blob, crc in rows):
        raise corrupt(truth.path, f"the vectors of document {ordinal} do not match its chunks or their checksums")
    return np.frombuffer(b"".join(blob for blob, _ in rows), dtype=np.float32).reshape(count, dims).copy()
