"""Connections to OpenSearch under the outbound policy: TLS, certificates, proxies, pools, credentials, odd servers."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from src.errors import ConfigurationError, RagError, TlsError, UnreachableError
from src.infra.config import NetworkCfg, SearchCfg
from src.infra.network import NetworkPolicy
from src.infra.resilience.retry import without_waiting
from src.infra.search.opensearch.wire.connection import HostConnection
from src.infra.search.opensearch.wire.hosts import parse_hosts
from src.infra.search.opensearch.wire.transport import Transport
from tests.emulators.proxy import Proxy

ANSWER = json.dumps({"hits": {"hits": []}}).encode()


@dataclass
class Stub:
    """Answers every request alike, and counts connections; each connection to a TLS stub is one handshake."""

    port: int = 0
    connections: int = 0
    heads: list[dict[str, str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
    wait_s: float = 0.0
    closes: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
                head = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
                self.targets.append(first.split(" ")[1])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(head.get("content-length", 0))))
                await asyncio.sleep(self.wait_s)
                writer.write(self.answer)
                await writer.drain()
                if self.closes:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with without_waiting():
        yield


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(authority: trustme.CA, *names: str, **more: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1")), **more).configure_cert(context)
    return context


@contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[int]:
    """A TLS server that says why it breaks off the handshake and then closes in order; asyncio's closes without a word."""

    def serve() -> None:
        conversation, _ = listener.accept()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        with conversation:
            try:
                while True:
                    with suppress(ssl.SSLWantReadError):
                        tls.do_handshake()
                    conversation.sendall(outgoing.read())
                    incoming.write(conversation.recv(65536))
            except ssl.SSLError:
                conversation.sendall(outgoing.read())
            conversation.shutdown(socket.SHUT_WR)
            while conversation.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@asynccontextmanager
async def client(host: str, network: NetworkCfg | None = None, *, signer: Any = None, **settings: Any) -> AsyncIterator[Transport]:
    transport = Transport(SearchCfg(host=host, **settings), NetworkPolicy(network or NetworkCfg()), signer=signer)
    try:
        yield transport
    finally:
        await transport.aclose()


async def ask(transport: Transport) -> Any:
    return await transport.perform("POST", "/docs/_search", body={"size": 1}, index="docs")


async def test_32_searches_at_once_cost_one_handshake_for_each_pooled_connection(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        Stub(wait_s=0.005).running(server_context(authority)) as stub,
        client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file), pool_size=8) as transport,
    ):
        for _ in range(5):
            await asyncio.gather(*(ask(transport) for _ in range(32)))
        assert len(stub.heads) == 160
        assert stub.connections == 8


async def test_searches_one_after_another_share_one_connection(authority: trustme.CA, ca_file: Path) -> None:
    async with (
        Stub().running(server_context(authority)) as stub,
        client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file)) as transport,
    ):
        for _ in range(20):
            await ask(transport)
        assert stub.connections == 1


async def test_a_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    async with Stub(closes=True).running() as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
        for _ in range(5):
            await ask(transport)


class TestTrust:
    async def test_a_private_authority_is_trusted_once_it_is_named(self, authority: trustme.CA, ca_file: Path) -> None:
        async with Stub().running(server_context(authority)) as stub:
            async with client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file)) as transport:
                assert await ask(transport) == {"hits": {"hits": []}}
            async with client(f"https://localhost:{stub.port}") as transport:
                with pytest.raises(TlsError, match=r"network\.ca_bundle"):
                    await ask(transport)
                assert set(transport.breakers.states().values()) == {"closed"}, "an open breaker would hide what is wrong"

    async def test_a_certificate_for_another_name_is_refused(self, authority: trustme.CA, ca_file: Path) -> None:
        async with (
            Stub().running(server_context(authority, "search.example.com")) as stub,
            client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file)) as transport,
        ):
            with pytest.raises(TlsError, match=r"search\.host"):
                await ask(transport)
        assert stub.heads == []

    async def test_an_expired_certificate_is_refused(self, authority: trustme.CA, ca_file: Path) -> None:
        past = datetime.now(UTC) - timedelta(days=1)
        context = server_context(authority, "localhost", not_before=past - timedelta(days=9), not_after=past)
        async with Stub().running(context) as stub, client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file)) as transport:
            with pytest.raises(TlsError, match="expired"):
                await ask(transport)

    async def test_a_client_certificate_is_shown_and_its_lack_is_told(self, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
        context = server_context(authority)
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
        own = tmp_path / "client.pem"
        authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(own))
        async with (
            Stub().running(context) as stub,
            client(f"https://localhost:{stub.port}", NetworkCfg(ca_bundle=ca_file, client_certificate=own)) as transport,
        ):
            assert await ask(transport) == {"hits": {"hits": []}}
        with refusing(context) as port:
            async with client(f"https://localhost:{port}", NetworkCfg(ca_bundle=ca_file), max_retries=0) as transport:
                with pytest.raises(TlsError, match=r"network\.client_certificate"):
                    await ask(transport)

    async def test_plain_http_behind_https_and_the_reverse_are_told(self, authority: trustme.CA, ca_file: Path) -> None:
        async def confused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        plain = await asyncio.start_server(confused, "127.0.0.1", 0)
        async with client(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}") as transport:
            with pytest.raises(TlsError, match="https or http"):
                await ask(transport)
        plain.close()
        async with Stub().running(server_context(authority)) as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
            with pytest.raises(UnreachableError, match=r"search\.host.*https"):
                await ask(transport)

    async def test_the_next_host_serves_where_one_cannot_be_trusted(self, authority: trustme.CA, ca_file: Path) -> None:
        async with (
            Stub().running(server_context(authority, "other.example.com")) as wrong,
            Stub().running(server_context(authority)) as right,
            client(f"https://localhost:{wrong.port},https://localhost:{right.port}", NetworkCfg(ca_bundle=ca_file)) as transport,
        ):
            assert await ask(transport) == {"hits": {"hits": []}}


class TestProxy:
    @pytest.fixture
    def through(self) -> Iterator[Callable[[dict[str, int]], Proxy]]:
        from contextlib import ExitStack

        with ExitStack() as stack:
            yield lambda hosts: stack.enter_context(Proxy("me", "pass word:1", hosts).running())

    def network(self, proxy: Proxy, password: str = "pass word:1", **more: Any) -> NetworkCfg:
        return NetworkCfg(proxy=SecretStr(f"http://127.0.0.1:{proxy.port}"), proxy_username="me", proxy_password=SecretStr(password), **more)

    async def test_https_goes_through_a_tunnel_with_one_handshake_a_connection(
        self, authority: trustme.CA, ca_file: Path, through: Callable[[dict[str, int]], Proxy]
    ) -> None:
        async with Stub(wait_s=0.005).running(server_context(authority, "search.internal")) as stub:
            proxy = through({"search.internal:9200": stub.port})
            async with client("https://search.internal:9200", self.network(proxy, ca_bundle=ca_file), pool_size=4) as transport:
                for _ in range(3):
                    await asyncio.gather(*(ask(transport) for _ in range(16)))
            assert stub.connections == 4
            assert proxy.asked == ["search.internal:9200"] * 4
            assert not any("proxy-authorization" in head for head in stub.heads), "the proxy's credentials stay with it"
            assert set(stub.targets) == {"/docs/_search"}

    async def test_plain_http_asks_the_proxy_for_the_whole_address_with_its_credentials(self) -> None:
        async with Stub().running() as proxy:
            network = NetworkCfg(proxy=SecretStr(f"http://me:p%20w@127.0.0.1:{proxy.port}"))
            async with client("http://search.internal:9200/base", network, pool_size=2) as transport:
                await asyncio.gather(*(ask(transport) for _ in range(10)))
            assert set(proxy.targets) == {"http://search.internal:9200/base/docs/_search"}
            assert {head["host"] for head in proxy.heads} == {"search.internal:9200"}
            assert {head["proxy-authorization"] for head in proxy.heads} == {"Basic " + base64.b64encode(b"me:p w").decode()}
            assert proxy.connections == 2

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_a_wrong_password_names_the_proxy_and_not_the_password(self, scheme: str, through: Callable[[dict[str, int]], Proxy]) -> None:
        proxy = through({})
        async with client(f"{scheme}://search.internal:9200", self.network(proxy, "hunter2"), max_retries=0) as transport:
            with pytest.raises(UnreachableError, match=r"407.*network\.proxy") as raised:
                await ask(transport)
        assert "hunter2" not in str(raised.value)

    async def test_hosts_of_no_proxy_are_reached_directly(self, through: Callable[[dict[str, int]], Proxy]) -> None:
        async with Stub().running() as stub:
            proxy = through({})
            async with client(f"http://127.0.0.1:{stub.port}", self.network(proxy, no_proxy=("127.0.0.1",))) as transport:
                await ask(transport)
            assert proxy.asked == []

    async def test_a_proxy_that_is_down_is_named(self) -> None:
        network = NetworkCfg(proxy=SecretStr("http://127.0.0.1:1"))
        async with client("https://search.internal", network, max_retries=0) as transport:
            with pytest.raises(UnreachableError, match=r"proxy to https://search.internal.*network\.proxy"):
                await ask(transport)

    async def test_the_environment_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        async with Stub().running() as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
            await ask(transport)


class Signer:
    """Shows what a signer is handed and that its headers are sent."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        self.seen.append((method, url, dict(headers), body))
        return {**headers, "Authorization": "AWS4-HMAC-SHA256 x", "X-Amz-Date": f"2026-{len(self.seen)}"}


class TestCredentials:
    async def test_user_and_password_are_sent_with_every_request(self) -> None:
        async with Stub().running() as stub, client(f"http://127.0.0.1:{stub.port}", username="üser", password=SecretStr("a:b")) as transport:
            await ask(transport)
        expected = base64.b64encode("üser:a:b".encode()).decode()
        assert [head["authorization"] for head in stub.heads] == [f"Basic {expected}"]

    async def test_a_token_is_sent_with_every_request(self) -> None:
        async with Stub().running() as stub, client(f"http://127.0.0.1:{stub.port}", bearer_token=SecretStr("t.o.k")) as transport:
            await ask(transport)
        assert [head["authorization"] for head in stub.heads] == ["Bearer t.o.k"]

    async def test_a_token_with_a_line_end_is_refused_and_not_repeated(self) -> None:
        async with client("http://127.0.0.1:1", bearer_token=SecretStr("secret\r\nx: y")) as transport:
            with pytest.raises(ConfigurationError, match=r"search\.bearer_token") as raised:
                await ask(transport)
        assert "secret" not in str(raised.value)

    async def test_every_attempt_is_signed_anew_and_over_what_is_sent(self) -> None:
        signer = Signer()
        async with (
            Stub(answer=b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n").running() as stub,
            client(f"http://127.0.0.1:{stub.port}/base", username="u", signer=signer, max_retries=1) as transport,
        ):
            with pytest.raises(RagError):
                await transport.perform("POST", "/docs/_search", params={"a": "b c"}, body={"size": 1})
            assert [head["x-amz-date"] for head in stub.heads] == ["2026-1", "2026-2"]
            assert {head["authorization"] for head in stub.heads} == {"AWS4-HMAC-SHA256 x"}
            method, url, headers, body = signer.seen[0]
            assert (method, url, body) == ("POST", f"http://127.0.0.1:{stub.port}/base/docs/_search?a=b+c", stub.bodies[0])
            assert stub.targets[0] == "/base/docs/_search?a=b+c"
            assert headers == {"host": f"127.0.0.1:{stub.port}", "content-type": "application/json"}
            assert {name: stub.heads[0][name] for name in headers} == headers

    async def test_no_credentials_in_representations(self) -> None:
        async with Stub().running() as stub, client(f"http://127.0.0.1:{stub.port}", username="u", password=SecretStr("hunter2")) as transport:
            await ask(transport)
            assert transport._sessions is not None
            connection = transport._sessions.connection(parse_hosts(f"http://127.0.0.1:{stub.port}")[0])
            assert "hunter2" not in repr(transport) + repr(connection) + repr(transport._sessions)


class TestOddServers:
    @pytest.mark.parametrize(
        "answer",
        [
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{"hits":\r\n3\r\n{}}\r\n0\r\n\r\n',
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"hits":{}}',
            b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"hits":{}}',
        ],
        ids=["chunked", "until close", "interim answer"],
    )
    async def test_every_form_of_answer_is_read(self, answer: bytes) -> None:
        async with Stub(answer=answer, closes=b"connection: close" in answer).running() as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
            assert await ask(transport) == {"hits": {}}
            assert await ask(transport) == {"hits": {}}

    @pytest.mark.parametrize(
        "answer",
        [
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"hits":',
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{"hits":\r\n',
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{"hits":',
            b"HTTP/1.1 200 OK\r\ncontent-ty",
            b"",
        ],
        ids=["length", "chunked", "until close", "head", "nothing"],
    )
    async def test_a_truncated_answer_is_never_taken_for_a_whole_one(self, answer: bytes) -> None:
        async with Stub(answer=answer, closes=True).running() as stub, client(f"http://127.0.0.1:{stub.port}", max_retries=1) as transport:
            with pytest.raises(UnreachableError):
                await ask(transport)
            assert len(stub.heads) == 2, "and a search is repeated after it"

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 16\r\n\r\n<html>Hi!</html>",
            b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n",
        ],
        ids=["ssh", "web page", "redirect"],
    )
    async def test_what_is_not_opensearch_is_a_matter_of_the_address(self, answer: bytes) -> None:
        async with Stub(answer=answer, closes=True).running() as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
            with pytest.raises(ConfigurationError, match=r"search\.host"):
                await ask(transport)
            assert len(stub.heads) == 1

    async def test_an_unknown_name_is_told(self) -> None:
        async with client("http://no-such-host.invalid", max_retries=0) as transport:
            with pytest.raises(UnreachableError, match="name is unknown"):
                await ask(transport)

    async def test_a_connection_that_never_comes_about_ends_after_its_own_limit(self) -> None:
        """The peer accepts and says nothing, so that the TLS handshake hangs."""
        hanging = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(30), "127.0.0.1", 0)
        port = hanging.sockets[0].getsockname()[1]
        async with client(f"https://127.0.0.1:{port}", connect_timeout_s=0.2, max_retries=0) as transport:
            with pytest.raises(UnreachableError, match=r"no connection within 0\.2 s"):
                await ask(transport)
        hanging.close()

    async def test_large_bodies_go_and_come_whole(self) -> None:
        big = json.dumps({"text": "x" * 3_000_000}).encode()
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(big), big)
        async with Stub(answer=answer).running() as stub, client(f"http://127.0.0.1:{stub.port}") as transport:
            assert len((await transport.perform("POST", "/_bulk", body=b"y" * 5_000_000))["text"]) == 3_000_000
            assert stub.bodies == [b"y" * 5_000_000]
            assert stub.heads[0]["content-type"] == "application/x-ndjson"


async def test_opensearch_pys_own_client_works_on_our_connection(authority: trustme.CA, ca_file: Path) -> None:
    from opensearchpy import AsyncOpenSearch

    policy = NetworkPolicy(NetworkCfg(ca_bundle=ca_file))
    async with Stub().running(server_context(authority)) as stub:
        host = parse_hosts(f"https://localhost:{stub.port}")[0]

        def connect(**_: Any) -> HostConnection:
            return HostConnection(host, policy, context=policy.ssl_context, pool_size=4, connect_timeout_s=2)

        opensearch = AsyncOpenSearch(str(host), connection_class=connect)
        assert await opensearch.search(index="docs", body={"size": 1}) == {"hits": {"hits": []}}
        await opensearch.close()
    assert stub.targets == ["/docs/_search"]
