"""What the cluster can do, found by trying: versions and plugin lists lie or are forbidden.

Every try is a search of the alias for one hit or none, so that a role with read access to the index is enough. A hybrid
query is never tried without a pipeline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np

from .....core.search import HybridTuning, Technique
from .....errors import UnsupportedFeatureError
from .....telemetry.logger import get_logger
from ....resilience.health_cache import HealthCache
from . import query
from .filters import Clause
from .plans import Refused, Search

log = get_logger(__name__)

TTL_S: Final = 300.0
"""Seconds after which the cluster is tried again: it may have been upgraded, or a plugin put back."""

TECHNIQUES: Final[tuple[Technique, ...]] = get_args(Technique)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Why the cluster cannot do a thing; an empty string where it can.

    Attributes:
        knn: searching vectors.
        techniques: hybrid queries with an inline pipeline of each technique.
        named: hybrid queries with the pipeline that `[search] pipeline` names.
        shards: primary shards behind the alias.
    """

    knn: str
    techniques: Mapping[Technique, str]
    named: str
    shards: int

    def against_server_fusion(self, technique: Technique, *, named: bool) -> str | None:
        """Why the server must not fuse a request; None where it can."""
        if named:
            return self.named or None
        if technique == "rrf" and self.shards > 1 and not self.techniques["rrf"]:
            # Before 3.5 ranks were taken on each shard by itself, so that every shard's first was a first.
            return f"ranks are taken on each of {self.shards} shards by itself"
        return self.techniques[technique] or None

    def check_vectors(self, host: str) -> None:
        """
        Raises:
            UnsupportedFeatureError: the cluster cannot search vectors.
        """
        if self.knn:
            raise UnsupportedFeatureError(
                f"The OpenSearch cluster cannot search vectors: {self.knn}.",
                setting="search.host",
                hint=f"Install the k-NN plugin on every node of {host}, or search in mode bm25.",
            )


Send = Callable[[Sequence[Search]], Awaitable[list[Any]]]
"""Sends searches to the alias; answers in order, `Refused` for those that the server cannot do."""


class Prober:
    """Tries once, keeps the result for `TTL_S`; requests that come meanwhile wait for the same try.

    Args:
        send: how searches travel.
        dims: length of the index's vectors.
        pipeline: the named search pipeline, where one is configured.
    """

    def __init__(self, send: Send, dims: int, pipeline: str | None, *, ttl_s: float = TTL_S) -> None:
        self._send = send
        self._dims = dims
        self._pipeline = pipeline
        self._known = HealthCache(self._try, ttl_s, failed_ttl_s=0)

    async def current(self) -> Capabilities:
        """
        Raises:
            ServiceUnavailableError and others: the cluster did not answer; nothing is kept.
        """
        return await self._known.get()

    def forget(self) -> None:
        """Try again at the next question: the server refused what it could do before."""
        self._known.forget()

    async def _try(self) -> Capabilities:
        unit = np.zeros(self._dims, dtype=np.float32)
        unit[0] = 1.0
        near = Search({"size": 1, "query": query.nearest(unit, 1, [{"match_all": {}}]), **query.KEYS}, refusable=True)
        pipelines = [query.Pipeline.inline(HybridTuning(technique=technique)) for technique in TECHNIQUES]
        if self._pipeline:
            pipelines.append(query.Pipeline(self._pipeline))
        answers = await self._send([near, *(_hybrid_of_nothing(pipeline) for pipeline in pipelines)])
        reasons = [answer.reason if isinstance(answer, Refused) else "" for answer in answers]
        shards = max((answer["_shards"]["total"] for answer in answers if not isinstance(answer, Refused)), default=1)
        found = Capabilities(reasons[0], dict(zip(TECHNIQUES, reasons[1:], strict=False)), reasons[-1] if self._pipeline else "", shards)
        lacking = {name: reason for name, reason in (("knn", found.knn), *found.techniques.items(), ("pipeline", found.named)) if reason}
        log.info("OpenSearch was tried", lacking=lacking, shards=shards)
        return found


def _hybrid_of_nothing(pipeline: query.Pipeline) -> Search:
    nothing: Clause = {"match_none": {}}
    return Search(query.hybrid(nothing, nothing, pipeline, depth=1, size=1), refusable=True)
