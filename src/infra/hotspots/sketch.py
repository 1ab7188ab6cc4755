"""Distributions of durations in few numbers: counts in buckets whose bounds grow by a tenth.

The buckets are those of DDSketch (Masson, Rim, Lee: VLDB 2019): any quantile is within 5 % of the true one, and two
sketches are merged by adding their counts. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ACCURACY = 0.05
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
SHORTEST_MS, LONGEST_MS = 0.001, 86_400_000.0
"""What is shorter or longer counts as this; so there are 253 buckets at most."""
Z = 2.58
"""Of the normal distribution: 99 % lie within."""

Buckets = Mapping[int, int]
"""Counts by bucket."""


def bucket_of(milliseconds: float) -> int:
    return math.ceil(math.log(min(max(milliseconds, SHORTEST_MS), LONGEST_MS)) / _LOG_GAMMA)


def value_of(bucket: int) -> float:
    """The milliseconds that a bucket stands for."""
    return float(2 * _GAMMA**bucket / (_GAMMA + 1))


def merged(*sketches: Buckets) -> dict[int, int]:
    found: dict[int, int] = {}
    for sketch in sketches:
        for bucket, count in sketch.items():
            found[bucket] = found.get(bucket, 0) + count
    return found


def quantile(buckets: Buckets, share: float) -> float | None:
    """The milliseconds that this share of the durations does not exceed (nearest rank); None where there are none."""
    bucket = _bucket_at(buckets, math.ceil(share * sum(buckets.values())) - 1)
    return None if bucket is None else value_of(bucket)


def interval(buckets: Buckets, share: float) -> tuple[int, int] | None:
    """The buckets between which the true quantile lies with 99 %, whatever the distribution; None where there are too few durations to say."""
    count = sum(buckets.values())
    middle, spread = share * count, Z * math.sqrt(count * share * (1 - share))
    if middle - spread < 0 or middle + spread > count - 1:
        return None
    low, high = _bucket_at(buckets, middle - spread), _bucket_at(buckets, middle + spread)
    return None if low is None or high is None else (low, high)


def _bucket_at(buckets: Buckets, rank: float) -> int | None:
    """The bucket of the duration of a rank, counted from 0."""
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen > rank:
            return bucket
    return None
