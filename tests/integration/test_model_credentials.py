"""Keys and tokens that headers cannot hold: an error of their own setting before anything is sent, and shown nowhere."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from src.errors import ConfigurationError, ModelCredentialsError, RagError
from src.infra.clients import make_chat_client, make_embed_client
from src.infra.config import AzureOpenAICfg, ChatCfg, EmbedCfg, Settings
from src.infra.factories import effective_chat
from src.infra.network import NetworkPolicy
from src.infra.providers.key_auth import ApiKey
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from tests.emulators.azure_openai import KEY, TOKEN, AzureOpenAIEmulator

CANARY = "canary-key-77aa"
UNFIT = [f"{CANARY}\nline2", f"{CANARY}\r\nx-evil: 1", f"{CANARY}\0", f"{CANARY}\u200b", f"{CANARY}\ufeff", f"canary-k\u00e9y-{CANARY}", f"{CANARY}\t{CANARY}"]
HELLO: Any = [{"role": "user", "content": "hello"}]


class Models:
    """The two models of a service under one credential."""

    def __init__(self, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy, tokens: Callable[[], Any] | None = None, **changes: Any) -> None:
        self.chat_cfg, self.embed_cfg = chat_cfg.model_copy(update=changes), embed_cfg.model_copy(update=changes)
        self.client: Any = make_chat_client(self.chat_cfg, tokens, network=policy)
        self.chat = OpenAIChatModel(lambda: self.client, self.chat_cfg)
        self.embedder = OpenAIEmbedder(lambda: make_embed_client(self.embed_cfg, tokens, network=policy), self.embed_cfg)

    async def streamed(self) -> None:
        async for _ in self.chat.stream("hello"):
            pass

    def calls(self) -> dict[str, Callable[[], Any]]:
        return {
            "chat": lambda: self.chat.generate("hello"),
            "stream": self.streamed,
            "embed": lambda: self.embedder.embed(["a"]),
            "client": lambda: self.client.chat.completions.create(model="gpt-4", messages=HELLO),
        }

    async def aclose(self) -> None:
        await self.chat.aclose()
        await self.embedder.aclose()


async def failed(call: Callable[[], Any]) -> RagError:
    with pytest.raises(RagError) as caught:
        await call()
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    for frame, _ in traceback.walk_tb(caught.value.__traceback__):
        if "/src/" in frame.f_code.co_filename:
            assert CANARY not in repr(frame.f_locals), frame.f_code.co_qualname
    return caught.value


@pytest.mark.parametrize("provider", ["azure", "openai"])
@pytest.mark.parametrize("key", UNFIT, ids=range(len(UNFIT)))
async def test_a_key_that_headers_cannot_hold_is_an_error_of_its_setting_before_anything_is_sent(
    azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy, caplog: pytest.LogCaptureFixture, provider: str, key: str
) -> None:
    caplog.set_level(1)
    models = Models(chat_cfg, embed_cfg, policy, provider=provider, api_key=SecretStr(key), max_retries=2)
    for name, call in models.calls().items():
        error = await failed(call)
        assert type(error) is ConfigurationError
        assert "holds a character that headers cannot" in error.message
        assert error.setting == ("embed.api_key" if name == "embed" else "chat.api_key")
    assert azure.connections == 0
    assert CANARY not in caplog.text
    await models.aclose()


async def test_a_key_that_was_lent_is_an_error_of_the_section_that_it_stands_in(chat_cfg: ChatCfg, policy: NetworkPolicy) -> None:
    lent = Settings(chat=chat_cfg.model_copy(update={"api_key": None}), azure_openai=AzureOpenAICfg(api_key=SecretStr(f"{CANARY}\nline2")))
    cfg = effective_chat(lent)
    model = OpenAIChatModel(lambda: make_chat_client(cfg, network=policy), cfg)
    assert (await failed(lambda: model.generate("hello"))).setting == "azure_openai.api_key"
    await model.aclose()


@pytest.mark.parametrize("provider", ["azure", "openai"])
@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}\r\n", f"\t{KEY} "])
async def test_white_space_around_a_key_is_not_sent(
    azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy, provider: str, key: str
) -> None:
    models = Models(chat_cfg, embed_cfg, policy, provider=provider, api_key=SecretStr(key))
    for call in models.calls().values():
        await call()
    assert {request.headers.get("api-key") or request.headers["authorization"].removeprefix("Bearer ") for request in azure.requests} == {KEY}
    await models.aclose()


@given(st.text())
def test_what_is_sent_of_any_key_whatever_can_stand_in_a_header(text: str) -> None:
    stripped = text.strip()
    if stripped.isascii() and stripped.isprintable() and stripped:
        assert asyncio.run(ApiKey(SecretStr(text), "chat.api_key").read()) == (text, stripped)
        h11.Request(method="GET", target="/", headers=[("host", "x"), ("api-key", stripped), ("authorization", f"Bearer {stripped}")])
        return
    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(ApiKey(SecretStr(text), "chat.api_key").read())
    assert caught.value.setting == "chat.api_key"
    assert len(text) < 3 or text not in str(caught.value)


@pytest.mark.parametrize("token", [None, "", "  ", b"x", 5, f"{CANARY}\nx", f"{CANARY}\u200b"])
@pytest.mark.parametrize("awaited", [False, True])
async def test_what_a_token_provider_of_ones_own_gives_is_checked_before_anything_is_sent(
    azure: AzureOpenAIEmulator,
    chat_cfg: ChatCfg,
    embed_cfg: EmbedCfg,
    policy: NetworkPolicy,
    caplog: pytest.LogCaptureFixture,
    token: object,
    awaited: bool,
) -> None:
    caplog.set_level(1)

    async def later() -> object:
        return token

    models = Models(chat_cfg, embed_cfg, policy, later if awaited else lambda: token, max_retries=2)
    for call in models.calls().values():
        error = await failed(call)
        assert type(error) is ModelCredentialsError
        assert error.setting == "azure.credential"
    assert azure.connections == 0
    assert CANARY not in caplog.text
    await models.aclose()


class Rotating:
    """An identity whose next token is unusable."""

    hop = "https://login.test"

    def __init__(self) -> None:
        self.tokens = ["refused", f"{CANARY}\nx"]

    def __call__(self) -> str:
        return self.tokens[0]

    async def token(self) -> str:
        return self.tokens[0]

    def invalidate(self, token: str) -> bool:
        self.tokens.remove(token)
        return True


async def test_a_token_in_place_of_a_refused_one_is_checked_too(
    azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    models = Models(chat_cfg, embed_cfg, policy, Rotating(), api_key=None)
    error = await failed(models.calls()["chat"])
    assert (error.setting, error.hop) == ("azure.credential", Rotating.hop)
    assert len(azure.requests) == 1
    assert CANARY not in caplog.text
    await models.aclose()


async def test_white_space_around_a_token_of_ones_own_is_not_sent(
    azure: AzureOpenAIEmulator, chat_cfg: ChatCfg, embed_cfg: EmbedCfg, policy: NetworkPolicy
) -> None:
    models = Models(chat_cfg, embed_cfg, policy, lambda: f"{TOKEN}\n")
    for call in models.calls().values():
        await call()
    assert {request.headers["authorization"] for request in azure.requests} == {f"Bearer {TOKEN}"}
    await models.aclose()
