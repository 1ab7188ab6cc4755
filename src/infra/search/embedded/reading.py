"""What the reading methods of the engine do, on one session, in the reader's thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ....core.documents import Chunk, Document
from ....core.identity import AccessScope
from ....core.search import Filter, Hit, SearchRequest, SearchResult
from ....errors import QueryError
from ....telemetry.stages import stage
from .. import cursors
from ..access import visible
from ..protocol import DocumentPage
from ..requests import check_limit, check_request
from .analysis import query_terms
from .explaining import explain
from .failures import corrupt
from .filters import Condition, compile_filter
from .highlighting import places
from .lexical import Postings
from .ranking import Question, Ranking, rank
from .records import make_hit
from .selection import Selection, lookup
from .session import Session
from .truth import Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check(request: SearchRequest, dims: int) -> Question:
    """
    Raises:
        QueryError: mode, page size, query, vector or tuning cannot be used.
        FilterError: a filter is malformed.
    """
    vector = check_request(request, dims)
    return Question(request, [] if request.mode == "knn" else query_terms(request.query), vector)


def search(session: Session, questions: Sequence[Question], scope: AccessScope) -> list[SearchResult]:
    """Answer several questions on one state of the index."""
    with session.serving() as (_, views):
        results = []
        for question in questions:
            began = time.perf_counter()
            mark = cursors.request_fingerprint(question.request, scope)
            offset = cursors.decode_offset(question.request.cursor, mark)
            selection = session.selector.select(session.truth, views, scope, question.request.filters)
            upto = offset + question.request.top_k
            ranking = rank(question, views, selection, upto + 1, session.beside)
            with stage("search.fetch"):
                hits = _hits(session.truth, ranking, offset, upto, scope)
            hits = _decorated(hits, question, ranking, views.postings, offset)
            after = cursors.encode(upto, mark) if ranking.rows.size > upto else None
            results.append(SearchResult(hits, question.request.mode, (time.perf_counter() - began) * 1000, next_cursor=after))
        return results


def _hits(truth: Truth, ranking: Ranking, start: int, stop: int, scope: AccessScope) -> tuple[Hit, ...]:
    rows = ranking.rows[start:stop].tolist()
    scores = ranking.scores[start:stop].tolist()
    legs = {name: values[start:stop].tolist() for name, values in ranking.legs.items()}
    found = truth.fetch(rows)
    hits = []
    for at, row in enumerate(rows):
        if row not in found:
            raise corrupt(truth.path, f"a view names chunk {row}, which is not there")
        chunk, document = found[row]
        if not visible(document, scope):  # a view never decides alone what somebody may see
            raise corrupt(truth.path, f"a view shows chunk {row} to a scope that may not see it")
        own = {name: values[at] for name, values in legs.items() if not math.isnan(values[at])}  # NaN: that leg did not score it
        hits.append(make_hit(chunk, document, scores[at], own))
    return tuple(hits)


def _decorated(hits: tuple[Hit, ...], question: Question, ranking: Ranking, postings: Postings, start: int) -> tuple[Hit, ...]:
    """Hits with what the request asks for beside them; ``start`` is the place of the first in the ranking."""
    if question.request.highlight:
        terms = question.terms or query_terms(question.request.query)
        hits = tuple(replace(hit, highlights=places(hit.text, terms)) for hit in hits)
    if question.request.explain:
        hits = tuple(replace(hit, explanation=explain(start + at, question, ranking, postings)) for at, hit in enumerate(hits))
    return hits


def find_document(session: Session, document_id: str, scope: AccessScope) -> tuple[int, Document] | None:
    """(ord, document) where the scope may see it; a system scope finds its own tenant's first, then any other's."""
    tenants = [scope.tenant]
    if scope.system:
        tenants += [tenant for tenant in session.truth.tenants_of(document_id) if tenant != scope.tenant]
    for tenant in tenants:
        found = session.truth.find_document(tenant, document_id)
        if found is not None and visible(found[2], scope):
            return found[0], found[2]
    return None


def get_document(session: Session, document_id: str, scope: AccessScope) -> Document | None:
    with session.truth.snapshot() as state:
        session.check(state)
        found = find_document(session, document_id, scope)
        return None if found is None else found[1]


def get_chunks(session: Session, document_id: str, scope: AccessScope) -> tuple[Chunk, ...]:
    with session.truth.snapshot() as state:
        session.check(state)
        found = find_document(session, document_id, scope)
        return () if found is None else session.truth.chunks_of(*found)


def list_documents(session: Session, scope: AccessScope, filters: Sequence[Filter], limit: int, cursor: str | None) -> DocumentPage:
    """Documents by id (then tenant). A filter on page or section keeps a document if one of its chunks passes all of those."""
    check_limit(limit)
    conditions = [compile_filter(item) for item in filters]
    mark = cursors.fingerprint(("documents", tuple(filters)), scope)
    after = ("", "") if cursor is None else _document_position(cursors.decode(cursor, mark))
    with session.truth.snapshot() as state:
        session.check(state)
        keeps = _document_filter(session.truth, conditions)
        found: list[Document] = []
        for ordinal, _, document in session.truth.walk_documents(None if scope.system else scope.tenant, after):
            if visible(document, scope) and keeps(ordinal):
                found.append(document)
            if len(found) > limit:
                break
    more = len(found) > limit
    page = tuple(found[:limit])
    return DocumentPage(page, cursors.encode([page[-1].id, page[-1].tenant], mark) if more else None)


def _document_position(position: object) -> tuple[str, str]:
    if isinstance(position, list) and len(position) == 2 and all(isinstance(part, str) for part in position):
        return position[0], position[1]
    raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.")


def _document_filter(truth: Truth, conditions: Sequence[Condition]) -> Callable[[int], bool]:
    tests: list[tuple[set[int], bool]] = []
    chunk_rows: NDArray[np.int64] | None = None
    for condition in conditions:
        found = lookup(truth, condition)
        if not condition.by_chunk:
            tests.append((set(found.tolist()), not condition.negate))
            continue
        rows = np.setdiff1d(truth.column("SELECT row FROM chunks"), found) if condition.negate else found
        chunk_rows = rows if chunk_rows is None else np.intersect1d(chunk_rows, rows)
    if chunk_rows is not None:
        tests.append((truth.owners(chunk_rows.tolist()), True))
    return lambda ordinal: all((ordinal in found) is wanted for found, wanted in tests)


def count(session: Session, scope: AccessScope, filters: Sequence[Filter]) -> int:
    with session.serving() as (_, views):
        selection: Selection = session.selector.select(session.truth, views, scope, filters)
        return selection.count
