"""A further search, in the model's own words, in what the caller may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from .protocol import ToolContext, ToolResult

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever

SPARE = 3
"""Hits asked for, for each passage that is wanted: those that the model has seen do not count again."""


class SearchArguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(min_length=1, max_length=1000, description="What to look for, in words that a document would use.")


class SearchTool:
    """Searches as the first search of a turn did: same scope, same filters, same mode.

    Args:
        passages: that one search may bring.
    """

    name = "search"
    description = "Search the documents for further passages. Use it when the passages so far do not hold the answer."
    arguments = SearchArguments

    def __init__(self, retriever: Retriever, passages: int) -> None:
        self._retriever = retriever
        self._passages = passages

    async def run(self, arguments: SearchArguments, context: ToolContext) -> ToolResult:
        found = await self._retriever.search(arguments.query, context.scope, mode=context.mode, top_k=SPARE * self._passages, filters=context.filters)
        return ToolResult("" if found.hits else "Nothing was found.", found.hits, found.degraded)
