"""`rag doctor` at OpenSearch: alias, mapping, pipeline and credentials of real nodes. Nothing is made there."""

from __future__ import annotations

from typing import Any

import pytest

from src.infra.config import NetworkCfg, SearchCfg
from src.infra.doctor import diagnose
from src.infra.network import NetworkPolicy
from src.infra.providers.minilm import DIMS, MODEL
from src.infra.search.opensearch.versions.indices import Indices
from src.infra.search.opensearch.wire.transport import Transport
from tests.integration.doctor.checks import checked, settings_of, states
from tests.servers.opensearch.cluster import Cluster

STEPS = ["name", "tcp", "service", "index", "mapping", "search"]


@pytest.fixture
def alias(index_prefix: str) -> str:
    return f"{index_prefix}docs"


@pytest.fixture
def values(opensearch: Cluster, alias: str) -> dict[str, Any]:
    return {"search.host": opensearch.url, "search.index_alias": alias, "search.timeout_s": 30}


async def make(url: str, alias: str, embedder: str = MODEL, dims: int = DIMS) -> Indices:
    cfg = SearchCfg(host=url, index_alias=alias, replicas=0)
    indices = Indices(Transport(cfg, NetworkPolicy(NetworkCfg())), cfg, embedder, dims, ttl_s=0)
    try:
        await indices.ensure()
    finally:
        await indices.transport.aclose()
    return indices


async def test_an_index_that_fits_is_good_and_the_doctor_leaves_nothing(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await make(opensearch.url, alias)
    hop = await checked(settings_of(tmp_path, values), "search", timeout_s=60)
    assert states(hop) == dict.fromkeys(STEPS, "ok")
    assert f"{alias}-000001" in hop.steps[3].finding.message
    assert f"{DIMS} dimensions" in hop.steps[4].finding.message


async def test_a_missing_index_names_the_alias_and_is_not_made(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    for _ in range(2):
        hop = await checked(settings_of(tmp_path, values), "search", timeout_s=60)
        assert (hop.step, hop.setting, hop.code) == ("index", "search.index_alias", "index-missing")
        assert "rag ingest" in hop.hint


async def test_an_index_of_another_model_prints_the_lines_that_fit_it(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await make(opensearch.url, alias, "azure:text-embedding-3-small", 12)
    hop = await checked(settings_of(tmp_path, values), "search", timeout_s=60)
    assert (hop.step, hop.setting) == ("mapping", "embed.model")
    lines = {fix.key: fix.value for fix in hop.worst.told.fixes}
    assert lines == {"embed.provider": "azure", "embed.model": "text-embedding-3-small", "embed.dims": "12"}
    assert all(fix.ready for fix in hop.worst.told.fixes)
    azure = {"chat.api_base": "https://localhost:1", "azure_openai.api_key": "k", "chat.api_version": "2024-06-01"}
    assert (await checked(settings_of(tmp_path, values | lines | azure), "search", timeout_s=60)).status == "ok"


async def test_an_index_of_the_local_model_under_another_embedder_offers_the_local_one(
    values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any
) -> None:
    await make(opensearch.url, alias)
    other = values | {"embed.provider": "openai", "embed.model": "text-embedding-3-small", "embed.dims": 1536, "embed.api_key": "k"}
    hop = await checked(settings_of(tmp_path, other), "search", timeout_s=60)
    assert (hop.step, hop.setting) == ("mapping", "embed.model")
    lines = {fix.key: fix.value for fix in hop.worst.told.fixes}
    assert (await checked(settings_of(tmp_path, other | lines), "search", timeout_s=60)).status == "ok"


async def test_an_index_of_others_is_not_ours_to_use(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await put(opensearch, f"{alias}-000001", {"aliases": {alias: {}}})
    hop = await checked(settings_of(tmp_path, values), "search", timeout_s=60)
    assert (hop.step, hop.setting) == ("index", "search.index_alias")


async def test_a_write_block_is_a_warning(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await make(opensearch.url, alias)
    await put(opensearch, f"{alias}-000001/_block/write")
    hop = await checked(settings_of(tmp_path, values), "search", timeout_s=60)
    assert (hop.status, hop.step) == ("warning", "index")


async def test_a_pipeline_that_is_not_there_is_told_and_leaving_it_out_mends_it(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await make(opensearch.url, alias)
    hop = await checked(settings_of(tmp_path, values | {"search.pipeline": "no-such-pipeline"}), "search", timeout_s=60)
    assert (hop.step, hop.setting) == ("search", "search.pipeline")


async def test_credentials_authority_and_rights_each_have_their_step(opensearch_secured: Cluster, index_prefix: str, tmp_path: Any) -> None:
    security = opensearch_secured.security
    assert security is not None
    good = {
        "search.host": opensearch_secured.url,
        "search.index_alias": f"{index_prefix}docs",
        "search.username": "admin",
        "search.password": security.user("admin")[1],
        "search.timeout_s": 30,
        "network.ca_bundle": security.ca_file,
    }
    expected = [
        ({}, "index", "search.index_alias"),
        ({"search.password": "wr0ng-passw0rd"}, "service", "search.username"),
        ({"network.ca_bundle": "/etc/ssl/certs/ca-certificates.crt"}, "tls", "network.ca_bundle"),
        ({"search.host": opensearch_secured.url.replace("https", "http")}, "service", "search.host"),
    ]
    for changed, step, setting in expected:
        report = await diagnose(settings_of(tmp_path, good | changed), hops=["search"], timeout_s=60)
        hop = report.hop("search")
        assert (hop.step, hop.setting) == (step, setting), hop
        assert "wr0ng-passw0rd" not in repr(report)


async def test_each_of_several_hosts_is_a_hop_of_its_own(values: dict[str, Any], opensearch: Cluster, alias: str, tmp_path: Any) -> None:
    await make(opensearch.url, alias)
    settings = settings_of(tmp_path, values | {"search.host": f"{opensearch.url}, http://localhost:1"})
    report = await diagnose(settings, hops=["search", "search-2"], timeout_s=60)
    assert (report.hop("search").status, report.hop("search-2").status) == ("ok", "failed")
    assert (report.hop("search-2").step, report.hop("search-2").address) == ("tcp", "http://localhost:1")


async def put(cluster: Cluster, path: str, body: dict[str, Any] | None = None) -> None:
    transport = Transport(SearchCfg(host=cluster.url), NetworkPolicy(NetworkCfg()))
    try:
        await transport.perform("PUT", f"/{path}", body=body)
    finally:
        await transport.aclose()
