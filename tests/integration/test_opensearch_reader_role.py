"""A role that may only read reads everything: what only a writer may ask for, a refresh, is done without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from src.errors import ServicePermissionError
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.opensearch_client import OpenSearchClient
from tests.contract.search.builders import DIMS, EMBEDDER, SYSTEM, write
from tests.servers.opensearch.cluster import Cluster

As = Callable[[str], OpenSearchClient]


@pytest.fixture
async def as_user(opensearch_secured: Cluster, index_prefix: str) -> AsyncIterator[As]:
    """Makes a client of one of the cluster's users."""
    security = opensearch_secured.security
    assert security is not None
    made: list[OpenSearchClient] = []

    def one(user: str) -> OpenSearchClient:
        password = SecretStr(security.user(user)[1])
        cfg = SearchCfg(host=opensearch_secured.url, index_alias=f"{index_prefix}docs", replicas=0, username=user, password=password, timeout_s=20)
        made.append(OpenSearchClient(cfg, embedder=EMBEDDER, dims=DIMS, network=NetworkPolicy(NetworkCfg(ca_bundle=security.ca_file))))
        return made[-1]

    yield one
    for client in made:
        await client.aclose()


async def test_a_role_that_may_not_refresh_reads_what_the_last_refresh_saw(as_user: As) -> None:
    writer, reader = as_user("writer"), as_user("reader")
    item = write("doc", ["one", "two"], tenant="another")
    await writer.write([item])
    await writer.refresh()
    with pytest.raises(ServicePermissionError):
        await reader.refresh()
    assert await reader.get_document("doc", SYSTEM) == item.document
    assert await reader.get_chunks("doc", SYSTEM) == item.chunks
    assert [found.document async for found in reader.export(SYSTEM)] == [item.document]
    assert (await reader.info()).documents == 1
    with pytest.raises(ServicePermissionError):  # what cannot be found for certain is not said to be deleted
        await reader.delete(["doc"], SYSTEM)
