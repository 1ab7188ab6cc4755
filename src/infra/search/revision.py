"""One digest of everything that a write stores, the same in every engine: two engines hold the same document where it agrees. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.documents import Chunk, Document, Metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def dump_metadata(metadata: Metadata) -> str:
    """One spelling for one set of metadata."""
    return json.dumps({key: list(value) if isinstance(value, tuple) else value for key, value in metadata.items()}, sort_keys=True)


def acl_key(acl: Sequence[str]) -> str:
    """One spelling for one set of principals."""
    return json.dumps(sorted(set(acl)))


def digest(document: Document, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> bytes:
    """Of everything that a write stores, to recognise one that changes nothing. ``vectors``: as `requests.checked_vectors` gives them."""
    state = hashlib.blake2b(digest_size=16)
    own = (document.title, document.source, document.content_type, document.content_hash, acl_key(document.acl), dump_metadata(document.metadata))
    state.update(repr(own).encode("utf-8", "surrogatepass"))
    for chunk in chunks:
        state.update(repr((chunk.id, chunk.position, chunk.page, chunk.section, chunk.start, chunk.end, chunk.text)).encode("utf-8", "surrogatepass"))
    state.update(vectors.tobytes())
    return state.digest()
