"""The clients of the factories on the wire: who holds them, which loop they belong to, whose name they tell."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import SecretStr

from src.core.identity import Identity, current_identity
from src.errors import ConfigurationError
from src.infra.clients import aclose_client, make_chat_client, make_embed_client, release_client
from src.infra.config import ChatCfg, EmbedCfg, EnvironmentCfg, NetworkCfg, Settings
from src.infra.factories import effective_chat, effective_embed
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.resource_manager import ResourceManager, use_resources
from tests.emulators.azure_openai import KEY, TOKEN, AzureOpenAIEmulator

HELLO: Any = [{"role": "user", "content": "hello"}]


async def ask(client: Any, model: str = "gpt-4") -> None:
    answer = await client.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices


async def closed(azure: AzureOpenAIEmulator) -> bool:
    for _ in range(300):
        if azure.open_connections == 0:
            return True
        await asyncio.sleep(0.01)
    return False


class TestWhoHoldsAClient:
    @pytest.fixture
    def client(self, chat_cfg: ChatCfg, policy: NetworkPolicy) -> Any:
        return make_chat_client(chat_cfg, network=policy)

    def evict(self, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        for timeout_s in (7.0, 8.0, 9.0):
            make_chat_client(chat_cfg.model_copy(update={"timeout_s": timeout_s}), network=policy)

    async def test_an_evicted_client_keeps_its_connection_while_it_is_held(
        self, azure: AzureOpenAIEmulator, client: Any, chat_cfg: ChatCfg, policy: NetworkPolicy
    ) -> None:
        await ask(client)
        self.evict(chat_cfg, policy)
        assert make_chat_client(chat_cfg, network=policy) is not client
        gc.collect()
        await ask(client)
        await ask(client)
        assert azure.connections == 1
        release_client(client)
        assert await closed(azure)
        await ask(client)
        await aclose_client(client)

    async def test_its_connection_closes_when_nobody_holds_it(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        await ask(make_chat_client(chat_cfg, network=policy))
        assert azure.open_connections == 1
        self.evict(chat_cfg, policy)
        gc.collect()
        assert await closed(azure)

    async def test_at_shutdown_the_clients_that_callers_made_close_too(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
        async with ResourceManager(Settings(network=NetworkCfg(ca_bundle=azure.ca_file))) as resources:
            held = [make_chat_client(chat_cfg.model_copy(update={"timeout_s": 5.0 + place}), network=resources.network) for place in range(4)]
            for client in held:
                await ask(client)
            assert azure.open_connections == 4
        assert await closed(azure)

    async def test_a_hundred_first_calls_of_tasks_build_one_client_and_close_none(
        self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy
    ) -> None:
        async def first() -> Any:
            return await asyncio.to_thread(make_chat_client, chat_cfg, network=policy)

        assert len({id(client) for client in await asyncio.gather(*(first() for _ in range(100)))}) == 1


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_without_a_policy_that_of_the_processs_resources_holds(azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
    with pytest.raises(openai.APIConnectionError):
        await ask(make_chat_client(chat_cfg))
    async with ResourceManager(Settings(network=NetworkCfg(ca_bundle=azure.ca_file))) as resources:
        with use_resources(resources):
            assert make_chat_client(chat_cfg) is make_chat_client(chat_cfg, network=resources.network)
            await ask(make_chat_client(chat_cfg))


@pytest.mark.parametrize("provider", ["azure", "openai"])
async def test_an_identity_that_is_brought_is_used_even_beside_a_key(
    azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy, provider: str
) -> None:
    cfg = chat_cfg.model_copy(update={"provider": provider, "api_key": SecretStr("no-good")})
    client = make_chat_client(cfg, lambda: TOKEN, network=policy)
    await ask(client)
    (request,) = azure.requests
    assert (request.headers["authorization"], "api-key" in request.headers) == (f"Bearer {TOKEN}", False)
    await aclose_client(client)  # type: ignore[arg-type] # no local model


class TestLoops:
    def run_often(self, times: int, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        client: Any = make_chat_client(chat_cfg, network=policy)
        asyncio.run(ask(client))
        gc.collect()
        before = open_files()
        for _ in range(times):
            asyncio.run(ask(make_chat_client(chat_cfg, network=policy)))
        gc.collect()
        assert client._client._transport.pools <= 1
        assert open_files() - before <= 2

    def test_a_client_outlives_its_loops_and_keeps_none_of_them(self, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        self.run_often(30, chat_cfg, policy)

    @pytest.mark.long
    def test_a_thousand_loops_leave_nothing_behind(self, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        self.run_often(1000, chat_cfg, policy)


class TestDeployments:
    def settings(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, **shared: Any) -> Settings:
        azure.deployments = {"gpt4-prod", "ada-prod"}
        return Settings(chat=chat_cfg, embed=embed_cfg, azure_openai={"deployments": ("gpt-4=gpt4-prod", "text-embedding-ada-002 = ada-prod"), **shared})  # type: ignore[arg-type] # validated

    async def test_models_are_asked_for_by_the_name_of_their_deployment(
        self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy
    ) -> None:
        settings = self.settings(azure, chat_cfg, embed_cfg)
        chat, embed = effective_chat(settings), effective_embed(settings)
        model = OpenAIChatModel(lambda: make_chat_client(chat, network=policy), chat)
        embedder = OpenAIEmbedder(lambda: make_embed_client(embed, network=policy), embed)
        await model.generate("hello")
        await embedder.embed(["a"])
        assert [request.path for request in azure.requests] == ["/openai/deployments/gpt4-prod/chat/completions", "/openai/deployments/ada-prod/embeddings"]
        assert (model.model, embedder.model) == ("gpt-4", "azure:text-embedding-ada-002"), "an index does not care what the deployment is called"
        await model.aclose()
        await embedder.aclose()

    async def test_a_section_may_name_its_own_and_a_wrong_one_names_its_key(
        self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy
    ) -> None:
        settings = self.settings(azure, chat_cfg.model_copy(update={"deployment": "absent"}), embed_cfg)
        for changed, key in ((settings, "chat.deployment"), (settings.model_copy(update={"chat": chat_cfg}), "azure_openai.deployments")):
            azure.deployments = set()
            cfg = effective_chat(changed)
            model = OpenAIChatModel(lambda cfg=cfg: make_chat_client(cfg, network=policy), cfg)  # type: ignore[misc] # mypy knows no defaults of lambdas
            with pytest.raises(ConfigurationError, match=cfg.deployed) as caught:
                await model.generate("hello")
            assert caught.value.setting == key
            await model.aclose()


class TestUserHeader:
    @pytest.fixture(autouse=True)
    def nobody(self) -> Iterator[None]:
        token = current_identity.set(None)
        yield
        current_identity.reset(token)

    async def sent(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy, identity: Identity | None, **keys: Any) -> str | None:
        cfg = chat_cfg.model_copy(update=keys)
        token = current_identity.set(identity)
        client = make_chat_client(cfg, network=policy)
        await ask(client)
        current_identity.reset(token)
        await aclose_client(client)
        return azure.requests[-1].headers.get("x-user")

    async def test_the_user_of_the_request_is_named_or_else_the_configured_one(
        self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy
    ) -> None:
        keys = {"user_header": "X-User", "user": "S100"}
        assert await self.sent(azure, chat_cfg, policy, None, **keys) == "S100"
        assert await self.sent(azure, chat_cfg, policy, Identity("S200"), **keys) == "S200"
        assert await self.sent(azure, chat_cfg, policy, Identity("local"), **keys) == "S100", "the local user is no user of the company's"
        assert await self.sent(azure, chat_cfg, policy, Identity("local"), user_header="X-User") is None
        assert await self.sent(azure, chat_cfg, policy, Identity("S200"), user="S100") is None, "without a header's name nobody is named"

    async def test_a_section_as_it_stands_in_the_settings_names_the_configured_user_too(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg) -> None:
        chat = chat_cfg.model_copy(update={"user_header": "X-User"})
        async with ResourceManager(
            Settings(chat=chat, environment=EnvironmentCfg(jpmc_user_sid="S300"), network=NetworkCfg(ca_bundle=azure.ca_file))
        ) as resources:
            with use_resources(resources):
                await ask(make_chat_client(resources.settings.chat))
        assert azure.requests[-1].headers["x-user"] == "S300"

    async def test_a_name_cannot_break_out_of_its_header(self, azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
        name = await self.sent(azure, chat_cfg, policy, Identity("Zoë\r\nAuthorization: x"), user_header="X-User")
        assert name == "Zo%C3%AB%0D%0AAuthorization: x"

    @pytest.mark.parametrize("name", ["Authorization", "api-key", "X User", "x:y", "Proxy-Authorization", "x\r\ny", ""])
    def test_a_header_that_requests_need_for_themselves_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="header"):
            ChatCfg(user_header=name)


def test_the_clients_are_the_providers_own(chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy, tmp_path: Path) -> None:
    assert type(make_chat_client(chat_cfg, network=policy)) is openai.AsyncAzureOpenAI
    assert type(make_embed_client(embed_cfg, network=policy)) is openai.AsyncAzureOpenAI
    assert chat_cfg.api_key is not None
    assert chat_cfg.api_key.get_secret_value() == KEY
