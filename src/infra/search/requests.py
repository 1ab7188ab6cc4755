"""Checks of what callers hand in, the same in every engine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.documents import Document
from ...core.search import MODES, SearchRequest
from ...errors import InputError, QueryError
from .comparing import check_filter
from .protocol import DocumentWrite

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TOP_K = 10_000
MAX_PAGE = 10_000
MAX_QUERY_CHARS = 200_000

_NORM_TOLERANCE = 1e-3


def check_request(request: SearchRequest, dims: int) -> NDArray[np.float32] | None:
    """The query's vector, L2-normalised, where the mode needs one.

    Raises:
        QueryError: mode, page size, query, vector or tuning cannot be used.
        FilterError: a filter is malformed.
    """
    if request.mode not in MODES:
        raise QueryError(f"Unknown search mode {request.mode!r}.", hint=f"Use one of {', '.join(MODES)}.")
    if type(request.top_k) is not int or not 1 <= request.top_k <= MAX_TOP_K:
        raise QueryError(f"top_k is {request.top_k!r}; it must be from 1 to {MAX_TOP_K:,}.")
    _check_tuning(request)
    for item in request.filters:
        check_filter(item)
    if request.mode != "knn":
        _check_query(request.query)
    return None if request.mode == "bm25" else _query_vector(request, dims)


def check_limit(limit: int) -> None:
    """
    Raises:
        QueryError: not a page size that documents are listed in.
    """
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise QueryError(f"limit is {limit!r}; it must be from 1 to {MAX_PAGE:,}.")


def _check_query(query: str) -> None:
    if not query.strip():
        raise QueryError("The query is empty.")
    if len(query) > MAX_QUERY_CHARS:
        raise QueryError(f"The query has {len(query):,} characters; at most {MAX_QUERY_CHARS:,} can be searched for.", hint="Shorten the query.")


def _check_tuning(request: SearchRequest) -> None:
    tuning = request.tuning
    if tuning.fusion not in ("completed", "server") or tuning.technique not in ("min_max", "l2", "z_score", "rrf"):
        raise QueryError(f"Unknown fusion {tuning.fusion!r} or technique {tuning.technique!r}.")
    if not 0.0 <= tuning.vector_weight <= 1.0:
        raise QueryError(f"vector_weight is {tuning.vector_weight!r}; it must be from 0 to 1.")
    if not 1 <= tuning.candidates <= MAX_TOP_K:
        raise QueryError(f"candidates is {tuning.candidates!r}; it must be from 1 to {MAX_TOP_K:,}.")
    if tuning.rrf_k < 1:
        raise QueryError(f"rrf_k is {tuning.rrf_k!r}; it must be at least 1.")


def _query_vector(request: SearchRequest, dims: int) -> NDArray[np.float32]:
    if request.vector is None:
        raise QueryError(f"Mode {request.mode} needs the vector of the query.")
    try:
        vector = np.ascontiguousarray(request.vector, dtype=np.float32)
    except (TypeError, ValueError):
        raise QueryError("The vector of the query is not a list of numbers.") from None
    if vector.shape != (dims,):
        raise QueryError(f"The vector of the query has shape {vector.shape}; the index has {dims} dimensions.")
    # As embedders give it; NaN and infinity do not get past this, and vdot, unlike matmul, does not warn of them.
    if abs(float(np.vdot(vector, vector)) - 1.0) < _NORM_TOLERANCE:
        return vector
    if not np.isfinite(vector).all():
        raise QueryError("The vector of the query holds NaN or infinity.")
    exact = vector.astype(np.float64)  # in float32 the norm of a finite vector may be infinite
    norm = float(np.linalg.norm(exact))
    if norm == 0.0:
        raise QueryError("The vector of the query is all zeros: it is similar to nothing.")
    return vector if abs(norm - 1.0) < _NORM_TOLERANCE else (exact / norm).astype(np.float32)


def checked_vectors(write: DocumentWrite, dims: int) -> NDArray[np.float32]:
    """The vectors of a document as they are stored: float32, finite, of length 1 (zero vectors stay zero).

    Raises:
        InputError: the shape is not (chunks, dims), a value is not finite, chunks do not belong to the document, or its metadata
            holds what is neither text, number nor boolean.
    """
    document, chunks = write.document, write.chunks
    if not document.id:
        raise InputError("A document needs an id.")
    _check_metadata(document)
    vectors = np.ascontiguousarray(write.vectors, dtype=np.float32)
    if not chunks and vectors.size == 0:
        return np.zeros((0, dims), dtype=np.float32)
    if vectors.shape != (len(chunks), dims):
        raise InputError(f"Document {document.id!r}: vectors of shape {vectors.shape} for {len(chunks)} chunks of an index with {dims} dimensions.")
    if not np.isfinite(vectors).all():
        raise InputError(f"Document {document.id!r}: a vector holds NaN or infinity.")
    if any(chunk.document_id != document.id or chunk.tenant != document.tenant for chunk in chunks):
        raise InputError(f"Document {document.id!r}: a chunk belongs to another document or tenant.")
    if len({chunk.id for chunk in chunks}) != len(chunks):
        raise InputError(f"Document {document.id!r}: two chunks have the same id.")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    off = (np.abs(norms - 1.0) > _NORM_TOLERANCE) & (norms > 0)
    return np.where(off, vectors / np.where(norms > 0, norms, 1.0), vectors).astype(np.float32) if off.any() else vectors


def _check_metadata(document: Document) -> None:
    for key, value in document.metadata.items():
        if not isinstance(key, str):
            raise InputError(f"Document {document.id!r}: the name {key!r} in its metadata is not text.")
        held: tuple[object, ...] = tuple(value) if isinstance(value, tuple | list) else (value,)
        wrong = [one for one in held if not isinstance(one, str | int | float)]
        if wrong:
            hint = "Metadata holds texts, numbers and booleans, or tuples of them."
            raise InputError(f"Document {document.id!r}: {key!r} in its metadata holds a {type(wrong[0]).__name__}.", hint=hint)
