"""The limits of `[network]`, each where it acts: hops with limits of their own keep to these, all others to the policy's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from pydantic import SecretStr

from src.errors import DeadlineExceededError, RagError, TlsError
from src.infra.azure_auth import make_token_provider
from src.infra.clients import aclose_client, make_chat_client, make_embed_client, make_search_session, release_client
from src.infra.config import AzureCfg, ChatCfg, EmbedCfg, NetworkCfg, SearchCfg
from src.infra.http_transport import make_async_client
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.search.opensearch.wire.transport import Transport
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply
from tests.emulators.service import Service

HELLO: Any = [{"role": "user", "content": "hello"}]
MODEL: dict[str, Any] = {"provider": "azure", "api_version": "2024-06-01", "api_key": SecretStr("k"), "max_retries": 0}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def network(authority: trustme.CA, tmp_path: Path) -> Callable[..., NetworkPolicy]:
    authority.cert_pem.write_to_path(tmp_path / "authorities.pem")
    return lambda **keys: NetworkPolicy(NetworkCfg(ca_bundle=tmp_path / "authorities.pem", **keys))


async def embeddings(url: str, policy: NetworkPolicy, timeout_s: float) -> None:
    cfg = EmbedCfg(model="text-embedding-ada-002", dims=8, api_base=url, timeout_s=timeout_s, **MODEL)
    embedder = OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg)
    try:
        await embedder.embed(["hello"])
    finally:
        await embedder.aclose()


async def chat(url: str, policy: NetworkPolicy, timeout_s: float) -> None:
    cfg = ChatCfg(model="gpt-4", api_base=url, timeout_s=timeout_s, **MODEL)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)
    try:
        await model.generate("hello")
    finally:
        await model.aclose()


async def identity(url: str, policy: NetworkPolicy, timeout_s: float) -> None:
    cfg = AzureCfg(tenant_id="contoso.example", client_id="app", client_secret=SecretStr("s"), authority_host=url, timeout_s=timeout_s)
    tokens = make_token_provider(cfg, policy)
    assert tokens is not None
    try:
        await tokens.token()
    finally:
        tokens.close()


HOPS = {"chat": chat, "embeddings": embeddings, "Entra ID": identity}
"""Those whose connections have no other limits than the policy's; the others stand in test_network_hops.py."""
each_hop = pytest.mark.parametrize("hop", HOPS)


async def failure(hop: str, url: str, policy: NetworkPolicy, timeout_s: float = 20.0) -> RagError:
    async with asyncio.timeout(30):
        with pytest.raises(RagError) as caught:
            await HOPS[hop](url, policy, timeout_s)
    return caught.value


class TestTlsVersion:
    @each_hop
    async def test_a_server_below_the_minimum_is_refused(self, hop: str, authority: trustme.CA, network: Callable[..., NetworkPolicy]) -> None:
        with Service(authority, newest="1.2").running() as service:
            error = await failure(hop, service.url, network(tls_min_version="1.3"))
            assert (type(error), error.hop, error.setting) == (TlsError, service.url, "network.tls_min_version"), error
            assert service.requests == 0


class TestConnecting:
    @each_hop
    async def test_the_time_to_connect_is_the_networks(self, hop: str, authority: trustme.CA, network: Callable[..., NetworkPolicy]) -> None:
        """The hop itself would allow 20 s, and the test 30: what ends the wait is a connection that did not come."""
        with Service(authority, way="silent").running() as service:
            error = await failure(hop, service.url, network(connect_timeout_s=0.4))
        assert (error.hop, "cannot be reached" in error.message) == (service.url, True), error
        assert "network.connect_timeout_s" in f"{error.setting} {error.hint}"


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """A server whose answer never ends, one letter at a time."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b":\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class TestTheWholeExchange:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_client_that_callers_use_themselves_ends_it_within_the_sections_time(self, stream: bool, network: Callable[..., NetworkPolicy]) -> None:
        async with dripping() as url:
            cfg = ChatCfg(model="gpt-4", api_base=url, timeout_s=0.5, **MODEL)
            client: Any = make_chat_client(cfg, network=network())

            async def ask() -> None:
                answer = await client.chat.completions.create(model="gpt-4", messages=HELLO, stream=stream)
                async for _ in answer:
                    pass

            with pytest.raises(Exception, match=r"timed out|longer than it may") as caught:
                await asyncio.wait_for(ask(), 20)
            assert type(caught.value).__name__ in ("APITimeoutError", "ReadTimeout")
            await aclose_client(client)

    async def test_a_call_may_ask_for_more(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        azure.script.append(Reply(delay_s=0.8))
        client: Any = make_chat_client(chat_cfg.model_copy(update={"timeout_s": 0.3}), network=policy)
        assert (await client.with_options(timeout=20).chat.completions.create(model="gpt-4", messages=HELLO)).choices
        await aclose_client(client)

    @each_hop
    async def test_a_hop_with_a_time_of_its_own_keeps_to_it(self, hop: str, authority: trustme.CA, network: Callable[..., NetworkPolicy]) -> None:
        class Waiting(Service):
            def _body(self, head: bytes, body: bytes) -> bytes:
                released.wait(20)
                return super()._body(head, body)

        released = threading.Event()
        with Waiting(authority).running() as service:
            error = await failure(hop, service.url, network(total_timeout_s=19, read_timeout_s=19), timeout_s=1.0)
            released.set()
        assert isinstance(error, DeadlineExceededError), error
        assert error.setting == {"chat": "chat.timeout_s", "embeddings": "embed.timeout_s", "Entra ID": "azure.timeout_s"}[hop]

    async def test_a_session_for_opensearch_ends_it_within_its_time(self, network: Callable[..., NetworkPolicy]) -> None:
        async with dripping() as url:
            session = make_search_session(SearchCfg(host=url, timeout_s=0.5), network=network())
            async with asyncio.timeout(20):
                with pytest.raises(DeadlineExceededError) as caught:
                    await asyncio.to_thread(session.get, url)
            assert isinstance(caught.value, requests.RequestException)
            assert caught.value.setting == "search.timeout_s"
            release_client(session)

    async def test_opensearch_ends_it_within_its_time(self, network: Callable[..., NetworkPolicy]) -> None:
        async with dripping() as url:
            transport = Transport(SearchCfg(host=url, timeout_s=0.5, max_retries=0), network())
            async with asyncio.timeout(20):
                with pytest.raises(DeadlineExceededError) as caught:
                    await transport.perform("GET", "/_search")
            assert caught.value.setting == "search.timeout_s"
            await transport.aclose()

    async def test_hops_without_one_have_the_networks(self, network: Callable[..., NetworkPolicy]) -> None:
        async with dripping() as url, make_async_client(network(total_timeout_s=0.5)) as client:
            async with asyncio.timeout(20):
                with pytest.raises(Exception, match="longer than it may"):
                    await client.get(url)


class TestPools:
    async def test_models_open_no_more_connections_than_the_network_allows(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg) -> None:
        policy = NetworkPolicy(NetworkCfg(ca_bundle=azure.ca_file, pool_size=2))
        client: Any = make_chat_client(chat_cfg, network=policy)
        await asyncio.gather(*(client.chat.completions.create(model="gpt-4", messages=HELLO) for _ in range(12)))
        assert azure.connections <= 2
        embedder = OpenAIEmbedder(lambda: make_embed_client(embed_cfg, network=policy), embed_cfg)
        await embedder.embed([f"text {place}" for place in range(30)])
        assert azure.connections <= 4
        await embedder.aclose()
        await aclose_client(client)

    async def test_opensearch_opens_no_more_than_its_section_allows(self, authority: trustme.CA, network: Callable[..., NetworkPolicy]) -> None:
        with Service(authority).running() as service:
            transport = Transport(SearchCfg(host=service.url, pool_size=2), network(pool_size=50))
            await asyncio.gather(*(transport.perform("GET", "/_search") for _ in range(12)))
            assert len(service.clients) <= 2
            await transport.aclose()
