"""What the cluster can do, found by trying: versions and plugin lists lie or are forbidden.

Every try is a search of the alias for a hit or a few, so that a role with read access to the index is enough. A hybrid
query is never tried without a pipeline, and a named pipeline is believed only for an answer that it made one ranking of.
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
from .pages import unfused
from .plans import Refused, Search

log = get_logger(__name__)

TTL_S: Final = 300.0
"""Seconds after which the cluster is tried again: it may have been upgraded, or a plugin put back."""

_TRIED: Final = 100
"""Hits of a hybrid query that is tried; there are one for each shard."""

TECHNIQUES: Final[tuple[Technique, ...]] = get_args(Technique)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Why the cluster cannot do a thing; an empty string where it can.

    Attributes:
        knn: searching vectors.
        techniques: hybrid queries with an inline pipeline of each technique.
        named: hybrid queries with the pipeline that `[search] pipeline` names.
        shards: primary shards behind the alias.
        added: what the server adds to every score; document-level security adds 1 for each query of a role that a chunk passes.
        uneven: it adds more to some chunks than to others.
        seen: there was a chunk to try with.
    """

    knn: str
    techniques: Mapping[Technique, str]
    named: str
    shards: int
    added: float = 0.0
    uneven: bool = False
    seen: bool = True

    @property
    def caveats(self) -> tuple[str, ...]:
        """What an answer is less for, whichever way it came about."""
        return ("document-level security adds more to the scores of some chunks than of others",) if self.uneven else ()

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
        found = await self._known.get()
        if not found.seen:  # what an empty index says of scores and pipelines does not last
            self._known.forget()
        return found

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
        extremes = [Search({"size": 1, "query": query.any_chunk(), "sort": [{"_score": order}, "_doc"], **query.KEYS}) for order in ("asc", "desc")]
        *answers, least, most = await self._send([near, *map(_hybrid, pipelines), *extremes])
        reasons = [answer.reason if isinstance(answer, Refused) else unfused(answer["hits"]["hits"]) if at else "" for at, answer in enumerate(answers)]
        shards = max((answer["_shards"]["total"] for answer in answers if not isinstance(answer, Refused)), default=1)
        low, high = ([hit["sort"][0] for hit in answer.get("hits", {}).get("hits", ())] for answer in (least, most))
        found = Capabilities(
            knn=reasons[0],
            techniques=dict(zip(TECHNIQUES, reasons[1:], strict=False)),
            named=reasons[-1] if self._pipeline else "",
            shards=shards,
            added=max(low, default=0.0),
            uneven=low != high,
            seen=bool(low),
        )
        lacking = {name: reason for name, reason in (("knn", found.knn), *found.techniques.items(), ("pipeline", found.named)) if reason}
        log.info("OpenSearch was tried", lacking=lacking, shards=shards, added_to_scores=found.added)
        return found


def _hybrid(pipeline: query.Pipeline) -> Search:
    """Both legs find the same chunk of each shard: what does not normalise shows it twice."""
    one = {"constant_score": {"filter": query.any_chunk()}}  # a hybrid query drops what scores 0
    return Search(query.hybrid(one, one, pipeline, depth=1, size=_TRIED), refusable=True)
