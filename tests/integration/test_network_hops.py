"""The one policy at every hop: authorities, client certificates, TLS versions, proxies; and what each fault is called there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from pydantic import SecretStr

from src.errors import RagError, ServiceUnavailableError
from src.infra.aws.signing import SigV4Signer
from src.infra.clients import make_chat_client, make_search_session
from src.infra.config import ChatCfg, NetworkCfg, SearchCfg
from src.infra.http_transport import make_async_client
from src.infra.network import NetworkPolicy
from src.infra.network.faults import fault_of
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.search.opensearch.wire.transport import Transport
from tests.emulators.proxy import Proxy
from tests.emulators.service import Service, client_certificate

PASSWORD = "hunter2 €"
HOST = "service.company.test"
Call = Callable[[str, NetworkPolicy], Awaitable[None]]


async def chat(url: str, policy: NetworkPolicy) -> None:
    cfg = ChatCfg(provider="azure", model="gpt-4", api_base=url, api_version="2024-06-01", api_key=SecretStr("k"), timeout_s=5, max_retries=0)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)
    try:
        assert (await model.generate("hello")).content == "Hello."
    finally:
        await model.aclose()


async def opensearch(url: str, policy: NetworkPolicy) -> None:
    transport = Transport(SearchCfg(host=url, max_retries=0, timeout_s=5, connect_timeout_s=1), policy)
    try:
        assert await transport.perform("GET", "/_search") == {"hits": {"hits": []}}
    finally:
        await transport.aclose()


async def session(url: str, policy: NetworkPolicy) -> None:
    """Its errors are ours and requests' at once."""
    client = make_search_session(SearchCfg(host=url, bearer_token=SecretStr("t"), timeout_s=1, connect_timeout_s=1), network=policy)
    try:
        assert (await asyncio.to_thread(client.get, f"{url}/_search")).json() == {"hits": {"hits": []}}
    except requests.RequestException as error:
        if not isinstance(error, RagError):
            raise AssertionError("requests' own error came out") from error
        raise


async def sts(url: str, policy: NetworkPolicy) -> None:
    cfg = SearchCfg(
        host=url, use_aws_auth=True, aws_region="eu-west-1", aws_role_arn="arn:aws:iam::1:role/r", aws_profile=url, timeout_s=15, connect_timeout_s=1
    )
    assert "authorization" in {name.lower() for name in await SigV4Signer(cfg, policy).headers("GET", f"{url}/", {}, b"")}


HOPS: list[Call] = [chat, opensearch, session, sts]
every_hop = pytest.mark.parametrize("call", HOPS, ids=lambda call: call.__name__)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture(autouse=True)
def hostile_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS credentials in a file; an environment that would break every call if it were read; no waiting between botocore's attempts."""
    from botocore.retries.standard import ExponentialBackoff

    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nowhere.pem")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


async def ask(call: Call, url: str, policy: NetworkPolicy, folder: Path) -> None:
    (folder / "config").write_text(f"[profile {url}]\nendpoint_url = {url}\n")
    (folder / "credentials").write_text(f"[{url}]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n")
    await call(url, policy)


async def failure(call: Call, url: str, policy: NetworkPolicy, folder: Path) -> RagError:
    async with asyncio.timeout(20):
        with pytest.raises(RagError) as caught:
            await ask(call, url, policy, folder)
    return caught.value


def address_of(call: Call, fault: str) -> str:
    """The key that holds a hop's address; AWS's follows from the region, and where it is not reached the way out is missing."""
    if call is sts:
        return "search.aws_region" if fault in ("cut", "garbage", "plain", "expired", "name") else "network.proxy"
    return "chat.api_base" if call is chat else "search.host"


class TestTrust:
    @every_hop
    async def test_authorities_are_added_or_replaced_and_never_more_than_configured(
        self, call: Call, authority: trustme.CA, ca_file: Path, tmp_path: Path
    ) -> None:
        with Service(authority).running() as service:
            for mode in ("add", "replace"):
                policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file, ca_mode=mode))  # type: ignore[arg-type] # one of the two it may be
                await ask(call, service.url, policy, tmp_path)
            trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
            error = await failure(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=tmp_path / "other.pem", ca_mode="replace")), tmp_path)
        assert (type(error).__name__, error.hop, error.setting) == ("TlsError", service.url, "network.ca_bundle")

    async def test_all_hops_share_two_contexts_which_no_library_changes(self, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file))
        contexts = [policy.ssl_context, policy.requests_context]
        before = [(len(context.get_ca_certs()), context.verify_mode, context.check_hostname, context.minimum_version) for context in contexts]
        with Service(authority).running() as service:
            for call in (*HOPS, *HOPS):
                await ask(call, service.url, policy, tmp_path)
                assert [(len(c.get_ca_certs()), c.verify_mode, c.check_hostname, c.minimum_version) for c in contexts] == before, call.__name__
        assert [policy.ssl_context, policy.requests_context] == contexts

    @every_hop
    @pytest.mark.parametrize(("name", "password"), [("own.pem", ""), ("own.pem", PASSWORD), ("own.pfx", ""), ("own.pfx", PASSWORD)])
    async def test_a_client_certificate_is_shown_in_each_form(
        self, call: Call, name: str, password: str, authority: trustme.CA, ca_file: Path, tmp_path: Path
    ) -> None:
        own = client_certificate(authority, tmp_path / name, password)
        policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file, client_certificate=own, client_key_password=SecretStr(password) if password else None))
        with Service(authority, demands_certificate=True).running() as service:
            await ask(call, service.url, policy, tmp_path)
            assert service.clients

    @every_hop
    @pytest.mark.parametrize("newest", ["1.2", "1.3"])
    async def test_a_server_that_demands_a_certificate_is_told_from_all_else(
        self, call: Call, newest: str, authority: trustme.CA, ca_file: Path, tmp_path: Path
    ) -> None:
        stranger = client_certificate(trustme.CA(), tmp_path / "stranger.pem")
        with Service(authority, demands_certificate=True, newest=newest).running() as service:
            for own in (None, stranger):
                error = await failure(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file, client_certificate=own)), tmp_path)
                assert (type(error).__name__, error.hop, error.setting) == ("TlsError", service.url, "network.client_certificate"), error
            assert service.requests == 0

    @every_hop
    async def test_a_server_below_the_minimum_version_names_that_key(self, call: Call, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        with Service(authority, newest="1.2").running() as service:
            await ask(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file)), tmp_path)
            error = await failure(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file, tls_min_version="1.3")), tmp_path)
        assert (type(error).__name__, error.hop, error.setting) == ("TlsError", service.url, "network.tls_min_version"), error


class TestProxy:
    @pytest.fixture
    def service(self, authority: trustme.CA) -> Iterator[Service]:
        with Service(authority, HOST).running() as found:
            yield found

    @pytest.fixture
    def proxy(self, service: Service) -> Iterator[Proxy]:
        with Proxy("me", PASSWORD, {f"{HOST}:{service.port}": service.port}).running() as found:
            yield found

    def policy(self, ca_file: Path, port: int, password: str = PASSWORD, **more: Any) -> NetworkPolicy:
        proxy = SecretStr(f"http://127.0.0.1:{port}")
        return NetworkPolicy(NetworkCfg(ca_bundle=ca_file, https_proxy=proxy, proxy_username="me", proxy_password=SecretStr(password), **more))

    @every_hop
    async def test_the_way_out_is_the_proxy_alone_with_its_credentials(self, call: Call, service: Service, proxy: Proxy, ca_file: Path, tmp_path: Path) -> None:
        await ask(call, f"https://{HOST}:{service.port}", self.policy(ca_file, proxy.port), tmp_path)
        assert set(proxy.asked) == {f"{HOST}:{service.port}"}
        assert proxy.refused == 0

    @every_hop
    async def test_a_refused_credential_names_the_proxy_and_is_not_shown(
        self, call: Call, service: Service, proxy: Proxy, ca_file: Path, tmp_path: Path
    ) -> None:
        url = f"https://{HOST}:{service.port}"
        error = await failure(call, url, self.policy(ca_file, proxy.port, "wrong-word"), tmp_path)
        assert (error.hop, error.setting) == (f"proxy to {url}", "network.proxy_username"), error
        assert "407" in error.message
        assert "wrong-word" not in str(error)

    @every_hop
    async def test_a_proxy_that_is_not_there_is_told_from_a_host_that_is_not(self, call: Call, service: Service, ca_file: Path, tmp_path: Path) -> None:
        url = f"https://{HOST}:{service.port}"
        error = await failure(call, url, self.policy(ca_file, 9), tmp_path)
        assert (error.hop, error.setting) == (f"proxy to {url}", "network.https_proxy"), error
        assert "refused" in error.message

    @every_hop
    @pytest.mark.parametrize(
        ("reply", "words"),
        [
            (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "refused the connection"),
            (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", "did not open the way"),
            (b"", "without opening the way"),
            (None, "in time"),
        ],
        ids=["403", "502", "hangs up", "silent"],
    )
    async def test_a_proxy_that_opens_no_way_is_named_in_time(self, call: Call, reply: bytes | None, words: str, ca_file: Path, tmp_path: Path) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if reply is None:
                await reader.read()
            else:
                writer.write(reply)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"https://{HOST}"
        error = await failure(call, url, self.policy(ca_file, server.sockets[0].getsockname()[1], connect_timeout_s=1), tmp_path)
        server.close()
        assert (error.hop, error.setting) == (f"proxy to {url}", "network.https_proxy"), error
        assert words in error.message.replace("within 1 s", "in time")

    @every_hop
    async def test_a_silent_host_behind_the_proxy_is_not_the_proxys_fault(self, call: Call, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        with Service(authority, HOST, way="silent").running() as service, Proxy("", "", {f"{HOST}:{service.port}": service.port}).running() as proxy:
            url = f"https://{HOST}:{service.port}"
            error = await failure(call, url, self.policy(ca_file, proxy.port, connect_timeout_s=1), tmp_path)
        assert isinstance(error, ServiceUnavailableError)
        assert (error.hop, "cannot be reached" in error.message) == (url, True), error

    @every_hop
    async def test_trust_behind_the_proxy_is_the_hosts_matter(self, call: Call, service: Service, proxy: Proxy, tmp_path: Path) -> None:
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        url = f"https://{HOST}:{service.port}"
        error = await failure(call, url, self.policy(tmp_path / "other.pem", proxy.port), tmp_path)
        assert (type(error).__name__, error.hop, error.setting) == ("TlsError", url, "network.ca_bundle"), error

    @every_hop
    async def test_the_proxy_of_another_scheme_and_hosts_of_no_proxy_are_left_out(
        self, call: Call, authority: trustme.CA, ca_file: Path, tmp_path: Path
    ) -> None:
        dead = SecretStr("http://127.0.0.1:9")
        with Service(authority).running() as service:
            await ask(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file, http_proxy=dead)), tmp_path)
            await ask(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file, proxy=dead, no_proxy=(f"localhost:{service.port}",))), tmp_path)


class TestFaults:
    @every_hop
    @pytest.mark.parametrize("fault", ["close", "cut", "garbage", "plain", "expired", "name", "refused", "unknown"])
    async def test_each_names_its_hop_and_its_setting(self, call: Call, fault: str, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        policy, setting = NetworkPolicy(NetworkCfg(ca_bundle=ca_file)), address_of(call, fault)
        if fault in ("refused", "unknown"):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                free = listener.getsockname()[1]
            url = f"https://localhost:{free}" if fault == "refused" else "https://no-such-host.invalid"
            error = await failure(call, url, policy, tmp_path)
        else:
            names = ("other.example",) if fault == "name" else ()
            way: Any = fault if fault in ("close", "cut", "garbage", "plain") else "answer"
            with Service(authority, *names, way=way, expired=fault == "expired").running() as service:
                url = service.url
                error = await failure(call, url, policy, tmp_path)
        expected = {"plain": "TlsError", "expired": "TlsError", "name": "TlsError", "garbage": "ForeignServiceError"}.get(fault, "UnreachableError")
        assert (type(error).__name__, error.hop, error.setting) == (expected, url, setting), error

    @every_hop
    async def test_silence_ends_within_the_time_to_connect(self, call: Call, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        with Service(authority, way="silent").running() as service:
            error = await failure(call, service.url, NetworkPolicy(NetworkCfg(ca_bundle=ca_file, connect_timeout_s=1)), tmp_path)
        assert isinstance(error, ServiceUnavailableError)
        assert (error.hop, "cannot be reached" in error.message) == (service.url, True), error


class TestLimits:
    """Of hops that have none of their own; the client for them is `make_async_client` without a time."""

    async def test_an_answer_that_keeps_dripping_ends_with_the_total_time(self, ca_file: Path) -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            except OSError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file, total_timeout_s=0.5))
        async with make_async_client(policy) as client:
            with pytest.raises(Exception, match="longer than it may") as caught:
                await client.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert fault_of(caught.value).kind == "read-timeout"
        server.close()

    async def test_silence_ends_with_the_time_to_read_and_the_pool_has_its_size(self, authority: trustme.CA, ca_file: Path) -> None:
        with Service(authority).running() as service:
            policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file, pool_size=2))
            async with make_async_client(policy) as client:
                await asyncio.gather(*(client.get(f"{service.url}/") for _ in range(20)))
            assert len(service.clients) <= 2
        silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(30), "127.0.0.1", 0)
        async with make_async_client(NetworkPolicy(NetworkCfg(ca_bundle=ca_file, read_timeout_s=0.2))) as client:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - its kind is what is asked below
                await client.get(f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/")
        assert fault_of(caught.value).kind == "read-timeout"
        silent.close()
