"""What clusters cannot do is found by trying, said, and made good where it can be: on real clusters of every kind."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from src.core.search import AnyOf, HybridTuning, Mode, SearchRequest
from src.errors import IndexMissingError, QueryError, UnsupportedFeatureError
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.opensearch_client import OpenSearchClient
from src.infra.search.opensearch.reading import query
from src.infra.search.opensearch.reading.capabilities import TECHNIQUES, Prober
from src.infra.search.opensearch.reading.sending import Sender
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.search_config import search_pipeline
from tests.contract.search.builders import DIMS, EMBEDDER, MEMBER, vector_of, write
from tests.servers.opensearch.cluster import Cluster

TEXTS = ["the meter reading", "night tariff", "storm and outage", "a meter for the night"]
Open = Callable[..., Awaitable[OpenSearchClient]]
SERVER = HybridTuning(fusion="server")


def ask(tuning: HybridTuning = SERVER, **more: Any) -> SearchRequest:
    return SearchRequest("meter night", vector=vector_of("meter night"), tuning=tuning, top_k=3, **more)


@pytest.fixture
async def opened(index_prefix: str) -> AsyncIterator[Open]:
    """Opens clients, filling the index with the first."""
    clients: list[OpenSearchClient] = []

    async def one(cluster: Cluster, user: str = "", *, fill: bool = True, tenant: str = "default", shards: int = 1, **settings: Any) -> OpenSearchClient:
        security = cluster.security
        if security is not None:
            name, password = security.user(user or "admin")
            settings |= {"username": name, "password": SecretStr(password)}
        cfg = SearchCfg(host=cluster.url, index_alias=f"{index_prefix}docs", replicas=0, **settings)
        network = NetworkPolicy(NetworkCfg(ca_bundle=Path(security.ca_file) if security is not None else None))
        client = OpenSearchClient(cfg, embedder=EMBEDDER, dims=DIMS, network=network)
        clients.append(client)
        if fill:
            if shards > 1:
                body = client.indices.body()
                body["settings"]["index"]["number_of_shards"] = shards
                cluster.ask("PUT", f"/{cfg.index_alias}-000001", {**body, "aliases": {cfg.index_alias: {}}})
            await client.write([write(f"d{at}", [text], tenant=tenant, metadata={"n": at}) for at, text in enumerate(TEXTS)])
            await client.refresh()
        return client

    yield one
    for client in clients:
        await client.aclose()


def same_hits(one: Any, other: Any, rel: float = 1e-4) -> None:
    assert [hit.text for hit in one.hits] == [hit.text for hit in other.hits]
    assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits], rel=rel)


async def test_a_full_cluster_fuses_itself_but_for_the_technique_that_it_lacks(opensearch: Cluster, opened: Open) -> None:
    client = await opened(opensearch)
    can = await client.capabilities()
    assert (can.knn, can.shards) == ("", 1)
    assert {name: bool(reason) for name, reason in can.techniques.items()} == {"min_max": False, "l2": False, "z_score": True, "rrf": False}
    for technique in TECHNIQUES:
        result = await client.search(ask(dataclasses.replace(SERVER, technique=technique)), MEMBER)
        assert bool(result.degraded) is (technique == "z_score")
        assert result.hits


async def test_without_neural_search_both_legs_are_fused_here_and_that_is_said(opensearch_knn_only: Cluster, opensearch: Cluster, opened: Open) -> None:
    client, whole = await opened(opensearch_knn_only), await opened(opensearch)
    assert all((await client.capabilities()).techniques.values())
    for technique in TECHNIQUES:
        request = ask(dataclasses.replace(SERVER, technique=technique))
        result = await client.search(request, MEMBER)
        (reason,) = result.degraded
        assert "fused by the client" in reason
        assert "Invalid processor type" in reason or "hybrid" in reason
        same_hits(result, await whole.search(request, MEMBER))
    assert (await client.search(ask(HybridTuning()), MEMBER)).degraded == ()


async def test_a_cluster_without_vectors_is_a_clear_error(opensearch_plain: Cluster, opened: Open, index_prefix: str) -> None:
    client = await opened(opensearch_plain, fill=False)
    with pytest.raises(IndexMissingError):
        await client.search(ask(), MEMBER)
    opensearch_plain.ask("PUT", f"/{index_prefix}plain", {"mappings": {"properties": {"vector": {"type": "float"}}}})
    cfg = SearchCfg(host=opensearch_plain.url, index_alias=f"{index_prefix}plain")
    transport = Transport(cfg, NetworkPolicy(NetworkCfg()))
    sender = Sender(transport, cfg)
    can = await Prober(lambda searches: sender.send(searches, [""] * len(searches), [set() for _ in searches]), DIMS, None).current()
    await transport.aclose()
    assert "unknown query [knn]" in can.knn
    with pytest.raises(UnsupportedFeatureError, match=r"cannot search vectors.*k-NN plugin"):
        can.check_vectors(opensearch_plain.url)


async def test_document_level_security_is_served_by_fusing_here(opensearch_secured: Cluster, opened: Open) -> None:
    everyone = await opened(opensearch_secured, tenant="partner")
    await everyone.write([write("other", ["a meter at night of others"], tenant="default")])
    await everyone.refresh()
    partner = await opened(opensearch_secured, "partner", fill=False)
    scope = dataclasses.replace(MEMBER, tenant="partner")
    request = ask(filters=(AnyOf("n", (0, 1, 3)),))
    result = await partner.search(request, scope)
    (reason,) = result.degraded
    assert "top level query" in reason
    assert [hit.text for hit in result.hits] == [hit.text for hit in (await everyone.search(request, scope)).hits]
    assert (await partner.search(ask(HybridTuning()), scope)).degraded == ()
    assert (await partner.search(ask(), MEMBER)).hits == ()


@pytest.mark.parametrize("mode", ["bm25", "knn", "hybrid"])
async def test_scores_are_the_questions_own_under_document_level_security(opensearch_secured: Cluster, opened: Open, mode: Mode) -> None:
    everyone = await opened(opensearch_secured, tenant="partner")
    partner = await opened(opensearch_secured, "partner", fill=False)
    scope = dataclasses.replace(MEMBER, tenant="partner")
    for technique in TECHNIQUES if mode == "hybrid" else ("min_max",):
        for tuning in (HybridTuning(), dataclasses.replace(SERVER, technique=technique)):
            request = dataclasses.replace(ask(tuning, explain=True), mode=mode, top_k=4)
            theirs, ours = await partner.search(request, scope), await everyone.search(request, scope)
            same_hits(theirs, ours, rel=0.01)  # of a score near 0, the 1 that was added leaves seven digits, and min-max stretches what is left
            for one, other in zip(theirs.hits, ours.hits, strict=True):
                assert set(other.legs) >= set(one.legs)
                assert one.legs == pytest.approx({name: other.legs[name] for name in one.legs}, abs=1e-6)
                assert one.explanation is not None
                assert one.explanation["value"] == pytest.approx(one.score)
    assert (await partner.capabilities()).added == 1.0


async def test_what_an_empty_index_says_of_scores_does_not_last(opensearch_secured: Cluster, opened: Open) -> None:
    everyone = await opened(opensearch_secured, tenant="default")
    partner = await opened(opensearch_secured, "partner", fill=False)
    scope = dataclasses.replace(MEMBER, tenant="partner")
    request = dataclasses.replace(ask(), mode="bm25")
    assert (await partner.search(request, scope)).hits == ()
    await everyone.write([write("theirs", ["a meter at night"], tenant="partner")])
    await everyone.refresh()
    same_hits(await partner.search(request, scope), await everyone.search(request, scope))


async def test_a_role_without_cluster_permissions_is_served_too(opensearch_secured: Cluster, opened: Open) -> None:
    whole = await opened(opensearch_secured)
    bare = await opened(opensearch_secured, "bare", fill=False)
    assert (await bare.capabilities()).knn == ""
    requests = [ask(), ask(HybridTuning()), dataclasses.replace(ask(), mode="bm25"), dataclasses.replace(ask(), mode="knn")]
    for one, other in zip(await bare.multi_search(requests, MEMBER), await whole.multi_search(requests, MEMBER), strict=True):
        assert (one.hits, one.degraded) == (other.hits, other.degraded)


async def test_a_named_pipeline_is_used_and_a_missing_one_is_said(opensearch: Cluster, opened: Open, index_prefix: str) -> None:
    name = f"{index_prefix}pipeline"
    opensearch.ask("PUT", f"/_search/pipeline/{name}", search_pipeline("min_max", (1.0, 0.0)))
    client = await opened(opensearch, pipeline=name)
    named = await client.search(ask(), MEMBER)
    assert named.degraded == ()
    assert named.hits[0].score == pytest.approx(1.0)
    told = (await client.search(ask(explain=True), MEMBER)).hits[0].explanation
    assert told is not None
    assert name in str(told["description"])
    opensearch.ask("DELETE", f"/_search/pipeline/{name}")
    for _ in range(2):  # refused at first, known afterwards
        missing = await client.search(ask(), MEMBER)
        (reason,) = missing.degraded
        assert "is not defined" in reason
        assert missing.hits


async def test_a_pipeline_that_makes_no_one_ranking_is_not_used(opensearch: Cluster, opened: Open, index_prefix: str) -> None:
    name = f"{index_prefix}pipeline"
    opensearch.ask("PUT", f"/_search/pipeline/{name}", {"description": "nothing"})
    client = await opened(opensearch, pipeline=name)
    inline = await opened(opensearch, fill=False)
    for text in ("meter night", "nothing that matches"):
        request = dataclasses.replace(ask(), query=text, top_k=4)
        result = await client.search(request, MEMBER)
        (reason,) = result.degraded
        assert "does not normalise" in reason
        same_hits(result, await inline.search(request, MEMBER))


async def test_a_pipeline_that_is_replaced_is_noticed_at_the_next_answer(opensearch: Cluster, opened: Open, index_prefix: str) -> None:
    name = f"{index_prefix}pipeline"
    opensearch.ask("PUT", f"/_search/pipeline/{name}", search_pipeline("min_max", (0.5, 0.5)))
    client = await opened(opensearch, pipeline=name)
    good = await client.search(ask(), MEMBER)
    assert good.degraded == ()
    opensearch.ask("PUT", f"/_search/pipeline/{name}", {"description": "nothing"})
    bad = await client.search(ask(), MEMBER)
    assert "does not normalise" in bad.degraded[0]
    assert all(hit.score >= 0 for hit in bad.hits)
    assert len({hit.chunk_id for hit in bad.hits}) == len(bad.hits) == 3


async def test_ranks_over_several_shards_are_taken_here(opensearch: Cluster, opened: Open) -> None:
    client = await opened(opensearch, shards=3)
    rrf = await client.search(ask(dataclasses.replace(SERVER, technique="rrf")), MEMBER)
    assert "3 shards" in rrf.degraded[0]
    assert (await client.search(ask(), MEMBER)).degraded == ()


class Recording:
    """Everything that a client sends."""

    def __init__(self, client: OpenSearchClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[str] = []
        send = client.transport._send

        async def recorded(method: str, path: str, params: Any, body: Any, *rest: Any) -> Any:
            lines = body.decode().splitlines() if isinstance(body, bytes) else [json.dumps(body, default=lambda value: value.tolist())]
            self.bodies += lines
            return await send(method, path, params, body, *rest)

        monkeypatch.setattr(client.transport, "_send", recorded)


async def test_no_hybrid_query_ever_travels_without_its_pipeline(opensearch: Cluster, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await opened(opensearch)
    record = Recording(client, monkeypatch)
    tunings = [HybridTuning(), *(dataclasses.replace(SERVER, technique=technique) for technique in TECHNIQUES)]
    requests = [ask(tuning, highlight=shown, explain=shown) for tuning in tunings for shown in (False, True)]
    first = await client.multi_search(requests, MEMBER)
    follow = [dataclasses.replace(request, cursor=result.next_cursor) for request, result in zip(requests, first, strict=True) if result.next_cursor]
    for request in (*requests, *follow):
        await client.search(request, MEMBER)
    asked = [json.loads(body) for body in record.bodies if '"hybrid"' in body]
    assert len(asked) > 20
    assert all(body.get("search_pipeline") and list(body["query"]) == ["hybrid"] for body in asked)
    assert all(len(re.findall('"hybrid"', body)) <= 1 for body in record.bodies)


def test_a_hybrid_body_cannot_be_made_without_a_pipeline(root: Path) -> None:
    for nothing in ("", {}, None, "_none"):
        with pytest.raises(ValueError, match="pipeline"):
            query.Pipeline(nothing)  # type: ignore[arg-type]  # the mistake under test
    spelled = [path.name for path in (root / "src").rglob("*.py") if '"hybrid":' in path.read_text()]
    assert spelled == ["query.py"]


async def test_bad_requests_reach_no_server(opensearch: Cluster, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await opened(opensearch)
    record = Recording(client, monkeypatch)
    with pytest.raises(QueryError):
        await client.search(ask(HybridTuning(candidates=0)), MEMBER)
    assert record.bodies == []
