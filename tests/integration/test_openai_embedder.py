from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigurationError, DeadlineExceededError, InputError, ModelError, OverloadedError, ServiceUnavailableError
from src.infra.clients import make_embed_client
from src.infra.config import EmbedCfg
from src.infra.network import NetworkPolicy
from src.infra.providers import attempts
from src.infra.providers.openai_embedder import OpenAIEmbedder, estimated_tokens, split_batches
from tests.emulators.azure_openai import AzureOpenAIEmulator, Reply

READER = openai.AsyncOpenAI(api_key="-", http_client=httpx2.AsyncClient(trust_env=False))
MakeEmbedder = Callable[..., OpenAIEmbedder]


@pytest.fixture
async def make(embed_cfg: EmbedCfg, policy: NetworkPolicy) -> AsyncIterator[MakeEmbedder]:
    made: list[OpenAIEmbedder] = []

    def build(**changes: Any) -> OpenAIEmbedder:
        cfg = embed_cfg.model_copy(update=changes)
        made.append(OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg))
        return made[-1]

    yield build
    for embedder in made:
        await embedder.aclose()


async def test_batches_come_back_in_the_order_of_the_texts(azure: AzureOpenAIEmulator, make: MakeEmbedder) -> None:
    texts = [f"text {place}" for place in range(10)]
    vectors = await make().embed(texts)
    assert vectors.shape == (10, azure.dims)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert sorted(len(request.body["input"]) for request in azure.requests) == [1, 3, 3, 3]
    assert azure.requests[0].path == "/openai/deployments/text-embedding-ada-002/embeddings"
    alone = await make(batch_size=1).embed([texts[7]])
    assert np.allclose(alone[0], vectors[7])


async def test_other_dimensions_than_configured_name_the_setting_and_both_numbers(make: MakeEmbedder) -> None:
    with pytest.raises(ConfigurationError, match=r"8 dimensions, embed.dims says 1536") as caught:
        await make(dims=1536).embed(["a"])
    assert caught.value.setting == "embed.dims"


async def test_models_that_can_shorten_their_vectors_are_asked_to(azure: AzureOpenAIEmulator, make: MakeEmbedder) -> None:
    await make(model="text-embedding-3-small").embed(["a"])
    await make().embed(["a"])
    assert azure.requests[0].body["dimensions"] == azure.dims
    assert "dimensions" not in azure.requests[1].body


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ([], ModelError),
        ([{"object": "embedding", "index": 0, "embedding": [0.0] * 8}], ModelError),
        ([{"object": "embedding", "index": 5, "embedding": [1.0] * 8}], ModelError),
        ([{"object": "embedding", "index": 0, "embedding": [1.0] * 8}] * 2, ModelError),
    ],
)
async def test_vectors_that_cannot_be_used_are_an_error(azure: AzureOpenAIEmulator, make: MakeEmbedder, data: list[Any], kind: type[Exception]) -> None:
    azure.script.append(Reply(body={"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    with pytest.raises(kind):
        await make().embed(["a"])


async def test_one_failed_batch_fails_the_call_with_its_own_error(azure: AzureOpenAIEmulator, make: MakeEmbedder) -> None:
    azure.script.append(Reply(503, {}))
    with pytest.raises(ServiceUnavailableError) as caught:
        await make().embed([f"text {place}" for place in range(30)])
    assert caught.value.hop == azure.url


async def test_a_slow_batch_runs_into_the_deadline(azure: AzureOpenAIEmulator, make: MakeEmbedder) -> None:
    azure.script.append(Reply(delay_s=30))
    with pytest.raises(DeadlineExceededError) as caught:
        await make(timeout_s=0.3).embed(["a"])
    assert caught.value.setting == "embed.timeout_s"


async def test_an_unknown_deployment_names_the_setting(make: MakeEmbedder) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await make(model="absent").embed(["a"])
    assert caught.value.setting == "embed.model"


async def test_an_empty_text_is_refused_before_it_is_sent(azure: AzureOpenAIEmulator, make: MakeEmbedder) -> None:
    with pytest.raises(InputError, match="Text 1 of 2"):
        await make().embed(["a", ""])
    assert not azure.requests


@given(st.lists(st.text(max_size=40), max_size=30), st.integers(1, 7), st.integers(1, 40))
def test_batches_cover_all_texts_in_order_within_both_limits(texts: list[str], most_texts: int, most_tokens: int) -> None:
    batches = list(split_batches(texts, most_texts, most_tokens))
    assert [place for start, end in batches for place in range(start, end)] == list(range(len(texts)))
    for start, end in batches:
        assert 1 <= end - start <= most_texts
        assert end - start == 1 or sum(map(estimated_tokens, texts[start:end])) <= most_tokens


@pytest.mark.parametrize("values", [[3.0, 4.0] + [0.0] * 6, "AABAQAAAgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], ids=["numbers", "base64"])
async def test_vectors_come_as_base64_or_as_numbers(azure: AzureOpenAIEmulator, make: MakeEmbedder, values: object) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": values}]
    azure.script.append(Reply(body={"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    assert np.allclose(await make().embed(["a"]), [[0.6, 0.8, 0, 0, 0, 0, 0, 0]])
    assert azure.requests[0].body["encoding_format"] == "base64"


@pytest.mark.parametrize("values", ["no base64", "AAAA", "", ["a"], [[1.0] * 8], [{}], {}, None, 1.0])
async def test_vectors_that_are_none_are_an_error_of_the_model(azure: AzureOpenAIEmulator, make: MakeEmbedder, values: object) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": values}]
    azure.script.append(Reply(body={"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    with pytest.raises((ModelError, ConfigurationError)):
        await make().embed(["a"])


def retry_after(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("wait", ["3", "date"])
async def test_a_wait_that_the_service_asks_for_is_kept_and_the_batch_sent_again(
    azure: AzureOpenAIEmulator, make: MakeEmbedder, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", sleep)
    azure.script.append(Reply(429, {"error": {"code": "429"}}, {"retry-after": retry_after(10) if wait == "date" else wait}))
    assert (await make(max_retries=1).embed(["a"])).shape == (1, azure.dims)
    (waited,) = waits
    assert 5 < waited <= 10 if wait == "date" else waited == 3
    assert len(azure.requests) == 2


@pytest.mark.parametrize("wait", ["3600", "86400000", "9" * 30, "-5", "nan", "soon", "date", "1e400"])
async def test_an_absurd_wait_ends_within_the_time_of_the_batch(azure: AzureOpenAIEmulator, make: MakeEmbedder, wait: str) -> None:
    azure.always = lambda _: Reply(429, {"error": {"code": "429"}}, {"retry-after": retry_after(1e6) if wait == "date" else wait})
    async with asyncio.timeout(15):
        with pytest.raises(ServiceUnavailableError) as caught:
            await make(max_retries=1, timeout_s=5).embed(["a"])
    assert isinstance(caught.value, OverloadedError)
    assert "429" in caught.value.message


@pytest.mark.parametrize("asked", [{"retry-after-ms": "90000", "retry-after": "1"}, {"retry-after-ms": "60000.5"}, {"retry-after": "20.5"}])
async def test_azures_own_header_of_milliseconds_is_heeded_too_and_decimals_are(azure: AzureOpenAIEmulator, make: MakeEmbedder, asked: dict[str, str]) -> None:
    """The batch has 20 s, the wait would take longer: the answer is told at once, so the service is asked once."""
    azure.always = lambda _: Reply(429, {"error": {"code": "429"}}, asked)
    async with asyncio.timeout(15):
        with pytest.raises(OverloadedError):
            await make(max_retries=1).embed(["a"])
    assert len(azure.requests) == 1


@pytest.mark.parametrize("repeats", [1, 0])
async def test_a_wait_beyond_the_clients_own_limit_is_kept_where_the_time_allows_it(
    azure: AzureOpenAIEmulator, make: MakeEmbedder, monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    """By itself the client gives up where it should wait for more than two minutes. Where nothing may be repeated, nothing is waited for."""
    waits: list[float] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds > 1:
            waits.append(seconds)
        await pause(0 if seconds > 1 else seconds)

    monkeypatch.setattr("openai._base_client.anyio.sleep", sleep)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    azure.script.append(Reply(429, {"error": {"code": "429"}}, {"retry-after": "130"}))
    embedder = make(max_retries=repeats, timeout_s=300)
    if repeats:
        await embedder.embed(["a"])
    else:
        with pytest.raises(OverloadedError):
            await embedder.embed(["a"])
    assert sum(waits) == (130 if repeats else 0)
    assert len(azure.requests) == 1 + repeats


@given(st.text("0123456789.eE+-_ nafi", max_size=12), st.text("0123456789.eE+-_ nafi", max_size=12))
def test_a_wait_is_read_as_the_client_reads_it(milliseconds: str, seconds: str) -> None:
    headers = httpx2.Headers({"retry-after-ms": milliseconds, "retry-after": seconds})
    theirs = READER._parse_retry_after_header(headers)
    ours = attempts.asked_wait(headers, 0.0)
    if theirs is None or math.isnan(theirs):
        assert ours is None
    else:
        assert ours == max(0.0, theirs) or (theirs > attempts.CLIENT_WAITS_S and ours == math.inf)
