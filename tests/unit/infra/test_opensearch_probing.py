"""The cluster is tried once, kept for a while, and tried again when it fails or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from src.errors import UnreachableError, UnsupportedFeatureError
from src.infra.resilience.deadline import current, deadline
from src.infra.search.opensearch.reading.capabilities import TECHNIQUES, Prober
from src.infra.search.opensearch.reading.plans import Refused, Search

CHUNK = {"_score": 1.0, "sort": [0.0, "d", 0]}
GOOD = {"_shards": {"total": 3}, "hits": {"hits": [CHUNK]}}


class Cluster:
    """Answers tries; ``lacking`` are the places of those that it refuses."""

    def __init__(self) -> None:
        self.tries: list[Sequence[Search]] = []
        self.lacking: set[int] = set()
        self.down = False

    async def send(self, searches: Sequence[Search]) -> list[Any]:
        self.tries.append(searches)
        await asyncio.sleep(0)
        if self.down:
            raise UnreachableError("down")
        return [Refused(f"lacks {at}") if at in self.lacking else GOOD for at in range(len(searches))]


async def test_many_questions_at_once_try_once_and_the_result_is_kept() -> None:
    cluster = Cluster()
    prober = Prober(cluster.send, 4, None)
    found = await asyncio.gather(*(prober.current() for _ in range(9)))
    assert len(cluster.tries) == 1
    assert {id(one) for one in found} == {id(await prober.current())}
    prober.forget()
    await prober.current()
    assert len(cluster.tries) == 2


async def test_what_is_old_is_tried_again() -> None:
    cluster = Cluster()
    cluster.lacking = {0}
    prober = Prober(cluster.send, 4, None, ttl_s=0)
    assert (await prober.current()).knn == "lacks 0"
    cluster.lacking = set()
    assert (await prober.current()).knn == ""


async def test_an_outage_is_an_error_and_nothing_is_kept() -> None:
    cluster = Cluster()
    cluster.down = True
    prober = Prober(cluster.send, 4, None)
    with pytest.raises(UnreachableError):
        await prober.current()
    cluster.down = False
    assert (await prober.current()).knn == ""


async def test_every_hybrid_try_has_a_pipeline() -> None:
    cluster = Cluster()
    await Prober(cluster.send, 4, "named").current()
    (near, *hybrids, least, most) = cluster.tries[0]
    assert near.body["size"] == least.body["size"] == most.body["size"] == 1
    assert len(hybrids) == len(TECHNIQUES) + 1
    assert all(one.body["search_pipeline"] and one.refusable for one in hybrids)
    assert hybrids[-1].body["search_pipeline"] == "named"


async def test_each_lack_has_its_own_reason() -> None:
    cluster = Cluster()
    cluster.lacking = {3, 5}  # z_score, and the named pipeline
    can = await Prober(cluster.send, 4, "named").current()
    assert can.against_server_fusion("z_score", named=False) == "lacks 3"
    assert can.against_server_fusion("min_max", named=False) is None
    assert can.against_server_fusion("min_max", named=True) == "lacks 5"
    assert "3 shards" in str(can.against_server_fusion("rrf", named=False))
    can.check_vectors("here")
    cluster.lacking = {0}
    with pytest.raises(UnsupportedFeatureError, match="lacks 0"):
        (await Prober(cluster.send, 4, None).current()).check_vectors("here")


async def test_a_try_has_not_the_deadline_of_the_first_who_asks() -> None:
    cluster, seen = Cluster(), []

    async def send(searches: Sequence[Search]) -> list[Any]:
        seen.append(current())
        return await cluster.send(searches)

    with deadline(60, "The search"):
        await Prober(send, 4, None).current()
    assert seen == [None]
