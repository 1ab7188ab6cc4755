"""`POST /v1/search`: passages without an answer."""

from __future__ import annotations

from fastapi import APIRouter

from ..retrieval.filters import parse_filters
from .deps import PartsDep, ScopeDep
from .schemas import SearchBody, SearchOut

router = APIRouter(prefix="/v1", tags=["search"])


@router.post("/search", response_model_exclude_none=True)
async def search(body: SearchBody, parts: PartsDep, scope: ScopeDep) -> SearchOut:
    """The best passages that the caller may see; ``legs`` holds each leg's own score."""
    filters = parse_filters(body.filters)
    retriever = await parts.retriever()
    found = await retriever.search(body.query, scope, mode=body.mode, top_k=body.top_k, filters=filters, cursor=body.cursor)
    return SearchOut.of(found)
