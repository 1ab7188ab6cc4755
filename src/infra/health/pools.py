"""Pools of connections that are nearly used up: those that say so of themselves (`telemetry.metrics.watch_pool`)."""

from __future__ import annotations

from ...telemetry.metrics import watched
from .checker import Finding

_POOL, _STATE = "rag.pool", "rag.state"


def pools(percent: float) -> Finding:
    """All pools of this process: PostgreSQL, OpenSearch, the models' clients, as far as they were used. Asks nobody."""
    limits = {str(dict(key)[_POOL]): value for value, key in watched("rag.pool.limit")}
    used = {str(dict(key)[_POOL]): value for value, key in watched("rag.pool.connections") if dict(key).get(_STATE) == "used"}
    tight = [f"{name}: {used[name]:.0f} of {limit:.0f}" for name, limit in sorted(limits.items()) if limit and 100 * used.get(name, 0) / limit >= percent]
    return Finding("degraded", f"connections in use: {', '.join(tight)}; health.pool_percent = {percent:g}") if tight else Finding("healthy")
