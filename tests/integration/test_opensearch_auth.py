"""Who may enter a secured cluster, over TLS with a private authority: the asynchronous transport and the `requests` session alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from src.errors import RagError, ServiceCredentialsError, ServicePermissionError, TlsError, UnreachableError
from src.infra.clients import make_search_session
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.wire.transport import Transport
from tests.emulators.proxy import Proxy
from tests.servers.opensearch.cluster import Cluster
from tests.servers.opensearch.security import Security

WHO = "_plugins/_security/authinfo"


def security(cluster: Cluster) -> Security:
    assert cluster.security is not None
    return cluster.security


def search(cluster: Cluster, user: str | None = None, password: str | None = None, **more: Any) -> SearchCfg:
    """``user``: one that the cluster knows, with the password that it knows unless another is given."""
    if user is not None:
        more |= {"username": user, "password": SecretStr(password or security(cluster).user(user)[1])}
    return SearchCfg(**{"host": cluster.url, "max_retries": 0, "timeout_s": 20} | more)


def policy(cluster: Cluster, **more: Any) -> NetworkPolicy:
    return NetworkPolicy(NetworkCfg(ca_bundle=security(cluster).ca_file, **more))


def with_certificate(cluster: Cluster, **more: Any) -> NetworkPolicy:
    certificate, key = security(cluster).client_certificate
    return policy(cluster, client_certificate=certificate, client_key=key, **more)


async def asked(cfg: SearchCfg, network: NetworkPolicy, path: str, index: str = "") -> Any:
    transport = Transport(cfg, network)
    try:
        return await transport.perform("GET", f"/{path}", index=index)
    finally:
        await transport.aclose()


async def answered(cfg: SearchCfg, network: NetworkPolicy, path: str) -> requests.Response:
    session = make_search_session(cfg, network=network)
    try:
        return await asyncio.to_thread(session.get, f"{cfg.host}/{path}")
    finally:
        session.close()


async def refused(kind: type[RagError], status: int, cfg: SearchCfg, network: NetworkPolicy, path: str, index: str = "") -> RagError:
    """The transport raises just this; the session, which is `requests`, answers with the status."""
    with pytest.raises(kind) as caught:
        await asked(cfg, network, path, index)
    assert type(caught.value) is kind
    assert caught.value.hop == cfg.host
    assert (await answered(cfg, network, path)).status_code == status
    return caught.value


@pytest.fixture
def index(opensearch_secured: Cluster, index_prefix: str) -> str:
    name = f"{index_prefix}auth"
    assert opensearch_secured.request("PUT", f"{name}/_doc/1?refresh=true", {"text": "one"}).status == 201
    return name


class TestWhoIsLetIn:
    async def known_as(self, cfg: SearchCfg, network: NetworkPolicy) -> tuple[str, str]:
        return (await asked(cfg, network, WHO))["user_name"], (await answered(cfg, network, WHO)).json()["user_name"]

    async def test_user_and_password(self, opensearch_secured: Cluster) -> None:
        assert await self.known_as(search(opensearch_secured, "reader"), policy(opensearch_secured)) == ("reader", "reader")

    async def test_a_token(self, opensearch_secured: Cluster) -> None:
        token = security(opensearch_secured).jwt("someone", ["reader"])
        cfg = search(opensearch_secured, bearer_token=SecretStr(token))
        assert await self.known_as(cfg, policy(opensearch_secured)) == ("someone", "someone")

    async def test_a_client_certificate_alone(self, opensearch_secured: Cluster, index: str) -> None:
        cfg, network = search(opensearch_secured), with_certificate(opensearch_secured)
        assert await self.known_as(cfg, network) == ("rag-client", "rag-client")
        assert (await asked(cfg, network, f"{index}/_count"))["count"] == 1

    async def test_every_kind_may_do_what_its_role_may(self, opensearch_secured: Cluster, index: str) -> None:
        token = security(opensearch_secured).jwt("someone", ["reader"])
        for cfg in (search(opensearch_secured, "reader"), search(opensearch_secured, bearer_token=SecretStr(token))):
            assert (await asked(cfg, policy(opensearch_secured), f"{index}/_count"))["count"] == 1
            assert (await answered(cfg, policy(opensearch_secured), f"{index}/_count")).json()["count"] == 1


class TestWhoIsNot:
    @pytest.mark.parametrize("user", ["reader", "who-is-this"])
    async def test_a_wrong_password_or_user_is_told_without_repeating_it(self, opensearch_secured: Cluster, user: str) -> None:
        cfg = search(opensearch_secured, user, "hunter2-wrong")
        error = await refused(ServiceCredentialsError, 401, cfg, policy(opensearch_secured), WHO)
        assert error.setting == "search.username"
        assert "hunter2" not in str(error)

    async def test_no_credential_at_all(self, opensearch_secured: Cluster) -> None:
        await refused(ServiceCredentialsError, 401, search(opensearch_secured), policy(opensearch_secured), WHO)

    @pytest.mark.parametrize("kind", ["expired", "forged", "nonsense"])
    async def test_a_token_that_is_not_good(self, opensearch_secured: Cluster, kind: str) -> None:
        good = security(opensearch_secured).jwt("someone", ["reader"])
        tokens = {"expired": security(opensearch_secured).jwt("someone", ["reader"], lifetime_s=-3600), "forged": good[:-6] + "AAAAAA", "nonsense": "hunter2"}
        cfg = search(opensearch_secured, bearer_token=SecretStr(tokens[kind]))
        error = await refused(ServiceCredentialsError, 401, cfg, policy(opensearch_secured), WHO)
        assert tokens[kind] not in str(error)

    async def test_who_is_known_but_has_no_right_gets_another_error(self, opensearch_secured: Cluster, index: str) -> None:
        cfg = search(opensearch_secured, "nobody")
        error = await refused(ServicePermissionError, 403, cfg, policy(opensearch_secured), f"{index}/_search", index)
        assert error.setting == "search.index_alias"
        assert index in str(error)

    async def test_a_role_without_cluster_rights_may_not_ask_for_the_version(self, opensearch_secured: Cluster) -> None:
        error = await refused(ServicePermissionError, 403, search(opensearch_secured, "reader"), policy(opensearch_secured), "")
        assert "cluster:monitor/main" in str(error)

    async def test_a_role_may_read_and_not_write(self, opensearch_secured: Cluster, index: str) -> None:
        transport = Transport(search(opensearch_secured, "reader"), policy(opensearch_secured))
        with pytest.raises(ServicePermissionError, match="indices:data/write"):
            await transport.perform("PUT", f"/{index}/_doc/2", body={"text": "two"}, index=index)
        await transport.aclose()

    async def test_without_its_authority_nothing_is_sent(self, opensearch_secured: Cluster) -> None:
        cfg = search(opensearch_secured, "reader")
        with pytest.raises(TlsError) as caught:
            await asked(cfg, NetworkPolicy(NetworkCfg()), WHO)
        assert (caught.value.hop, caught.value.setting) == (cfg.host, "network.ca_bundle")
        with pytest.raises(requests.exceptions.SSLError):
            await answered(cfg, NetworkPolicy(NetworkCfg()), WHO)


@pytest.fixture(params=["with credentials", "open"])
def proxy(request: pytest.FixtureRequest, opensearch_secured: Cluster) -> Iterator[Proxy]:
    port = int(opensearch_secured.url.rsplit(":", 1)[1])
    with Proxy("user" if request.param == "with credentials" else "", "p@ss", {f"localhost:{port}": port}).running() as found:
        yield found


class TestBehindAProxy:
    def here(self, cluster: Cluster) -> str:
        """A name that the proxy knows: the certificate is checked against it."""
        return f"https://localhost:{cluster.url.rsplit(':', 1)[1]}"

    @pytest.mark.parametrize("kind", ["basic", "token", "certificate"])
    async def test_every_credential_passes_and_stays_within_the_tunnel(self, opensearch_secured: Cluster, proxy: Proxy, kind: str) -> None:
        address = SecretStr(f"http://user:p%40ss@127.0.0.1:{proxy.port}" if proxy._expected else f"http://127.0.0.1:{proxy.port}")
        host = self.here(opensearch_secured)
        make = with_certificate if kind == "certificate" else policy
        network = make(opensearch_secured, proxy=address)
        if kind == "basic":
            cfg, name = search(opensearch_secured, "reader", host=host), "reader"
        elif kind == "token":
            token = security(opensearch_secured).jwt("someone", ["reader"])
            cfg, name = search(opensearch_secured, host=host, bearer_token=SecretStr(token)), "someone"
        else:
            cfg, name = search(opensearch_secured, host=host), "rag-client"
        assert (await asked(cfg, network, WHO))["user_name"] == name
        assert (await answered(cfg, network, WHO)).json()["user_name"] == name
        assert proxy.asked == [host.removeprefix("https://")] * 2
        assert proxy.refused == 0

    async def test_a_refusal_by_the_proxy_is_not_one_by_the_cluster(self, opensearch_secured: Cluster, proxy: Proxy) -> None:
        if proxy._expected is None:
            host = "https://unknown.company.test:9200"  # this one knows no such name
            network = policy(opensearch_secured, proxy=SecretStr(f"http://127.0.0.1:{proxy.port}"))
        else:
            host = self.here(opensearch_secured)
            network = policy(opensearch_secured, proxy=SecretStr(f"http://user:hunter2@127.0.0.1:{proxy.port}"))
        cfg = search(opensearch_secured, "reader", host=host)
        with pytest.raises(UnreachableError) as caught:
            await asked(cfg, network, WHO)
        assert "hunter2" not in str(caught.value)
        with pytest.raises(requests.exceptions.ConnectionError) as other:
            await answered(cfg, network, WHO)
        assert "hunter2" not in str(other.value)
        if proxy._expected is not None:
            assert caught.value.setting == "network.proxy_username"
            assert proxy.refused == 2
