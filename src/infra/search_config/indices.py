"""Settings and mappings of an index, by the size of the corpus. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from ...errors import ConfigurationError
from ..search.opensearch import fields
from .languages import BODY_ANALYZER, QUERY_ANALYZER, TEXT_ANALYZER, analysis

Size = Literal["small", "medium", "large"]
Engine = Literal["lucene", "faiss"]

MAX_RESULT_WINDOW: Final = 100_000
"""Deepest hit that a page may reach."""
MAX_DIMS: Final = 16_000
"""Longest vector that the server maps."""
GRAPH_OVERHEAD: Final = 1.1
"""OpenSearch's own factor over the bare graph (documentation of k-NN memory)."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What changes with the size of a corpus.

    Attributes:
        vectors: chunks that it is meant for, at most.
        shards: primary shards; 10 to 30 GB each at that many chunks of 384 dimensions.
        engine: where none is configured. `lucene` up to 10 million vectors, `faiss` above (OpenSearch's advice; faiss needs
            its native libraries on every node).
        m: links of a vector in the graph; more find better and take 8 bytes each.
        ef_construction: candidates looked at when a vector is linked.
        ef_search: candidates looked at by a search of faiss; lucene takes k of the query, which is `[retrieval] candidates`.
        refresh_interval: how long what is written may stay unseen; each refresh makes a segment, with its own graph.
    """

    vectors: int
    shards: int
    engine: Engine
    m: int
    ef_construction: int
    ef_search: int
    refresh_interval: str


SIZES: Mapping[str, Tuning] = MappingProxyType(
    {
        "small": Tuning(vectors=1_000_000, shards=1, engine="lucene", m=16, ef_construction=100, ef_search=100, refresh_interval="1s"),
        "medium": Tuning(vectors=10_000_000, shards=4, engine="lucene", m=16, ef_construction=128, ef_search=128, refresh_interval="5s"),
        "large": Tuning(vectors=100_000_000, shards=16, engine="faiss", m=16, ef_construction=256, ef_search=256, refresh_interval="30s"),
    }
)


def tuning_of(size: str) -> Tuning:
    """
    Raises:
        ConfigurationError: no such size.
    """
    if size not in SIZES:
        raise ConfigurationError(f"{size!r} is not a size of an index.", hint=f"Use one of {', '.join(SIZES)}.", setting="search.size")
    return SIZES[size]


def index_body(
    *, dims: int, embedder: str, language: str = "english", size: str = "small", engine: Engine | None = None, replicas: int | None = None
) -> dict[str, Any]:
    """What `PUT /INDEX` is sent: settings and mappings.

    Args:
        dims, embedder: length of the vectors, and the name of the model that makes them; both stand in the mapping's `_meta`.
        language: one of `LANGUAGES`.
        size: one of `SIZES`.
        engine, replicas: None takes the size's engine, and as many replicas as the cluster has room for, one at most.

    Raises:
        ConfigurationError: a language, size or dimension that cannot be used.
    """
    tuning = tuning_of(size)
    if not 1 <= dims <= MAX_DIMS:
        raise ConfigurationError(f"The vectors have {dims} dimensions; OpenSearch maps 1 to {MAX_DIMS:,}.", setting="embed.dims")
    chosen = engine or tuning.engine
    index: dict[str, Any] = {
        "number_of_shards": tuning.shards,
        "knn": True,
        "max_result_window": MAX_RESULT_WINDOW,
        # With `async` a killed node lost every acknowledged write of our test (1,300 of 1,300); with `request` none of 24,500.
        "translog": {"durability": "request"},
        **serving(size, replicas),
    }
    if chosen == "faiss":
        index["knn.algo_param.ef_search"] = tuning.ef_search
    return {
        "settings": {"index": index, "analysis": analysis(language)},
        "mappings": {
            "dynamic": "strict",
            "_meta": {fields.META: meta(dims=dims, embedder=embedder, language=language)},
            "_source": {"excludes": [fields.CONTEXT, fields.SHOWN]},
            "properties": _properties(dims, chosen, tuning),
        },
    }


def meta(*, dims: int, embedder: str, language: str) -> dict[str, Any]:
    """What an index says about itself, so that another model or layout is noticed before the first query."""
    return {"format": fields.FORMAT, "embedder": embedder, "dims": dims, "space": fields.SPACE, "language": language}


def serving(size: str, replicas: int | None = None) -> dict[str, Any]:
    """Settings of an index that answers searches; what bulk loading gives back when it ends.

    Unset replicas follow the cluster: none on a single node, whose health stays green, one on two nodes or more.
    """
    spread = {"auto_expand_replicas": "0-1"} if replicas is None else {"auto_expand_replicas": "false", "number_of_replicas": replicas}
    return {"refresh_interval": tuning_of(size).refresh_interval, **spread}


def loading() -> dict[str, Any]:
    """Settings while a new index is filled and nobody searches it: no refresh, no copies."""
    return {"refresh_interval": "-1", "auto_expand_replicas": "false", "number_of_replicas": 0}


def vector_bytes(dims: int, *, bits: int = 32, m: int = 16) -> float:
    """Memory of one vector in its graph, in bytes: `1.1 * (dims * bits / 8 + 8 * m)` (OpenSearch's documentation)."""
    return GRAPH_OVERHEAD * (dims * bits / 8 + 8 * m)


def memory_estimate(vectors: int, *, dims: int, size: str = "small", replicas: int = 1) -> int:
    """Bytes of memory that the cluster should have free for the vectors of all copies.

    For `faiss` that is native memory of the nodes; `lucene` reads its graph through the page cache, and searches at the
    speed of the disk where less is free.
    """
    return round(vectors * vector_bytes(dims, m=tuning_of(size).m) * (1 + replicas))


def _properties(dims: int, engine: Engine, tuning: Tuning) -> dict[str, Any]:
    keyword = {"type": "keyword"}
    # Only asked for, never sorted or counted by: without the columns, which every access term would stand in once a chunk.
    term = {"type": "keyword", "doc_values": False}
    written = {"type": "text", "analyzer": TEXT_ANALYZER}
    scored = {"type": "text", "analyzer": BODY_ANALYZER, "search_analyzer": QUERY_ANALYZER, "index_options": "freqs"}
    return {
        fields.KIND: keyword,
        fields.TENANT: keyword,
        fields.ALLOW: term,
        fields.FACETS: term,
        fields.DOC_KEY: keyword,
        fields.DOC_SORT: keyword,
        fields.POSITION: {"type": "integer"},
        fields.TITLE: written,
        fields.SECTION: written,
        fields.TEXT: written,
        fields.BODY: scored,
        fields.CONTEXT: scored,
        fields.VECTOR: {"type": "knn_vector", "dimension": dims, "method": _method(engine, tuning)},
        fields.PAYLOAD: {"type": "object", "enabled": False},
        fields.SHOWN: {"type": "binary", "doc_values": True},
    }


def _method(engine: Engine, tuning: Tuning) -> dict[str, Any]:
    return {
        "name": "hnsw",
        "engine": engine,
        "space_type": fields.SPACE,
        "parameters": {"m": tuning.m, "ef_construction": tuning.ef_construction},
    }
