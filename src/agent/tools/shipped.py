"""The tools that ship, under their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .protocol import Tool
from .toolbox import TOOLS

if TYPE_CHECKING:
    from ...infra.resource_manager import ResourceManager


def build_search(resources: ResourceManager) -> Tool:
    from .search import SearchTool

    return SearchTool(resources.get("retriever"), resources.settings.retrieval.passages)


def build_fetch_document(resources: ResourceManager) -> Tool:
    from .fetch_document import FetchDocumentTool

    return FetchDocumentTool(resources.search, resources.get("audit"))


TOOLS.register("search", build_search)
TOOLS.register("fetch_document", build_fetch_document)
