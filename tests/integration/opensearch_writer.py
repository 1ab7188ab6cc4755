"""A writing process, for tests that run two of them or kill one: ``python -m tests.integration.opensearch_writer URL ALIAS JSON``.

The JSON names the writer, its rounds and documents. Prints one line for each round that was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys

from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.search.opensearch.writing.writer import Writer
from tests.contract.search.builders import DIMS, EMBEDDER, write


async def main(url: str, alias: str, name: str, rounds: int, documents: int) -> None:
    cfg = SearchCfg(host=url, index_alias=alias, replicas=0)
    transport = Transport(cfg, NetworkPolicy(NetworkCfg()))
    writer = Writer(transport, Indices(transport, cfg, EMBEDDER, DIMS), cfg)
    try:
        for turn in range(rounds):
            await writer.write([write(f"d{number}", [f"{name} {turn} {at}" for at in range(1 + (number + turn) % 5)]) for number in range(documents)])
            sys.stdout.write(f"{turn}\n")
            sys.stdout.flush()
    finally:
        await transport.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
