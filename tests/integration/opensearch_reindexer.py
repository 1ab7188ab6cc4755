"""A process that reindexes, to be killed: ``python -m tests.integration.opensearch_reindexer URL ALIAS``; prints each phase, and `done` at the end."""

from __future__ import annotations

import asyncio
import sys

from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.versions.reindex import Reindexer
from src.infra.search.opensearch.wire.transport import Transport

EMBEDDER = "test-model/1"
DIMS = 16


def make(url: str, alias: str, **options: object) -> Indices:
    # The node of the tests shares two cores with much else: no figure here depends on a clock.
    cfg = SearchCfg.model_validate({"host": url, "index_alias": alias, "replicas": 0, "timeout_s": 30, **options})
    return Indices(Transport(cfg, NetworkPolicy(NetworkCfg())), cfg, EMBEDDER, DIMS)


async def main(url: str, alias: str) -> None:
    indices = make(url, alias)
    try:
        found = await Reindexer(indices, lambda progress: print(progress.phase, progress.done, flush=True)).run()
        print("done", found.source, found.target, f"blocked {found.blocked_s:.2f} s", flush=True)
    finally:
        await indices.transport.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
