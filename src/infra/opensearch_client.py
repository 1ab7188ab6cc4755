"""The OpenSearch engine, under the name that outside code imports.

This release answers from the embedded engine; OpenSearch has its own issue. A configuration with ``[search] host`` loads
and validates, and the first use of the engine says so instead of answering from somewhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UnsupportedFeatureError

if TYPE_CHECKING:
    from .config import SearchCfg


class OpenSearchClient:
    """Will implement `SearchClient` on opensearch-py; cannot be made yet.

    Raises:
        UnsupportedFeatureError: always.
    """

    def __init__(self, cfg: SearchCfg) -> None:
        raise UnsupportedFeatureError(
            "The OpenSearch engine is not part of this release.",
            setting="search.host" if cfg.host else "search.engine",
            hint="Remove [search] host, or set engine = embedded, to answer from the embedded engine.",
        )
