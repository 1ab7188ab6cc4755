"""When a model's time is over, the error says what it was waiting for: the client repeats by itself, and the last attempt tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from src.errors import DeadlineExceededError, OverloadedError, ServiceUnavailableError, UnreachableError
from src.infra.clients import make_chat_client, make_embed_client
from src.infra.config import ChatCfg, EmbedCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply

NO_ROOM = Reply(429, {"error": {"code": "429", "message": "x"}}, {"retry-after": "30"})
FAILED = Reply(503, {"error": {"message": "x"}})


class SlowIdentity:
    """A token source that gives none in time."""

    hop = "https://login.company.test"

    def __init__(self, gives: int = 0) -> None:
        self._left = gives

    async def token(self) -> str:
        if self._left:
            self._left -= 1
            return "refused-token"
        await asyncio.sleep(60)
        return ""

    def invalidate(self, _token: str) -> bool:
        return True

    def __call__(self) -> str:
        raise AssertionError("the asynchronous way is taken")


def chat(cfg: ChatCfg, network: NetworkPolicy, tokens: Callable[[], Any] | None = None, **changes: Any) -> OpenAIChatModel:
    cfg = cfg.model_copy(update=changes)
    return OpenAIChatModel(lambda: make_chat_client(cfg, tokens, network=network), cfg)


async def streamed(model: OpenAIChatModel) -> None:
    async for _ in model.stream("hello"):
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_a_wait_that_would_outlast_the_call_is_told_at_once(
    azure: AzureOpenAIEmulator,
    policy: NetworkPolicy,
    chat_cfg: ChatCfg,
    stream: bool,
) -> None:
    azure.script.extend([NO_ROOM] * 3)
    model = chat(chat_cfg, policy, max_retries=2, timeout_s=20)
    async with asyncio.timeout(15):
        with pytest.raises(OverloadedError, match="in 30 s") as caught:
            await (streamed(model) if stream else model.generate("hello"))
    assert (caught.value.hop, caught.value.setting) == (azure.url, "chat.max_retries")
    assert len(azure.requests) == 1
    await model.aclose()


async def test_a_service_that_keeps_failing_is_told_and_not_that_the_time_is_over(
    azure: AzureOpenAIEmulator,
    policy: NetworkPolicy,
    chat_cfg: ChatCfg,
    embed_cfg: EmbedCfg,
) -> None:
    azure.script.extend([FAILED] * 20)
    model = chat(chat_cfg, policy, max_retries=10, timeout_s=1.5)
    with pytest.raises(ServiceUnavailableError, match="HTTP 503") as caught:
        await model.generate("hello")
    assert not isinstance(caught.value, DeadlineExceededError)
    await model.aclose()
    cfg = embed_cfg.model_copy(update={"max_retries": 10, "timeout_s": 1.5})
    embedder = OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg)
    with pytest.raises(ServiceUnavailableError) as caught:
        await embedder.embed(["hello"])
    assert caught.value.setting.startswith("embed.")
    await embedder.aclose()


async def test_an_address_where_nobody_listens_is_told_and_not_that_the_time_is_over(
    policy: NetworkPolicy,
    chat_cfg: ChatCfg,
) -> None:
    model = chat(chat_cfg, policy, api_base="https://127.0.0.1:9", max_retries=10, timeout_s=1.5)
    with pytest.raises(UnreachableError, match="connection refused"):
        await model.generate("hello")
    await model.aclose()


@pytest.mark.parametrize("first", [0, 1], ids=["before the first request", "after a refused token"])
async def test_an_identity_that_is_slower_than_the_call_is_the_hop(
    azure: AzureOpenAIEmulator,
    policy: NetworkPolicy,
    chat_cfg: ChatCfg,
    first: int,
) -> None:
    model = chat(chat_cfg, policy, SlowIdentity(first), api_key=None, timeout_s=1.5)
    with pytest.raises(DeadlineExceededError, match="identity gave no token") as caught:
        await model.generate("hello")
    assert (caught.value.hop, caught.value.setting) == (SlowIdentity.hop, "azure.timeout_s")
    assert len(azure.requests) == first
    await model.aclose()


async def test_the_limits_of_one_call_are_not_those_of_the_next(
    azure: AzureOpenAIEmulator,
    policy: NetworkPolicy,
    chat_cfg: ChatCfg,
) -> None:
    """The client itself, used after a call of ours, repeats as it always does."""
    model = chat(chat_cfg, policy, max_retries=1, timeout_s=10)
    await model.generate("hello")
    cfg = chat_cfg.model_copy(update={"max_retries": 1, "timeout_s": 10})
    client: Any = make_chat_client(cfg, network=policy)
    azure.script.append(Reply(429, {"error": {"message": "x"}}, {"retry-after": "1"}))
    before = len(azure.requests)
    assert (await client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "hello"}])).choices
    assert len(azure.requests) == before + 2
    await model.aclose()
