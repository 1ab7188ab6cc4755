"""Rerankers over HTTPS: both shapes, batches, repeats, answers that are none, and a service that is left alone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from src.errors import (
    ConfigurationError,
    DeadlineExceededError,
    ModelCredentialsError,
    ModelError,
    OverloadedError,
    RagError,
    ResourceClosedError,
    ServiceUnavailableError,
    UnreachableError,
)
from src.infra.config import NetworkCfg, RerankCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.rerank import HttpReranker
from src.infra.resilience.deadline import deadline
from src.infra.resilience.retry import without_waiting
from tests.emulators.azure_openai import KEY, Recorded, Reply
from tests.emulators.reranker import MODEL, RerankerEmulator, overlap, reranker, reranking  # noqa: F401 - fixtures are taken by importing them

QUESTION = "Who reads the gas meter?"
TEXTS = ["Read the digits of your gas meter.", "Employees receive 25 days.", "Who reads the meter? The gas fitter.", "Fallen lines."]


def cfg_of(emulator: RerankerEmulator, **changes: Any) -> RerankCfg:
    values = {"provider": emulator.shape, "api_base": emulator.base, "api_key": SecretStr(KEY), "timeout_s": 20, "max_retries": 0}
    return RerankCfg(**{**values, "model": MODEL if emulator.shape == "cohere" else "", **changes})


@asynccontextmanager
async def model(emulator: RerankerEmulator, **changes: Any) -> AsyncIterator[HttpReranker]:
    made = HttpReranker(cfg_of(emulator, **changes), NetworkPolicy(NetworkCfg(ca_bundle=emulator.ca_file)))
    try:
        yield made
    finally:
        await made.aclose()


@pytest.mark.parametrize("shape", ["cohere", "tei"])
async def test_scores_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer(tmp_path: Path, shape: Literal["cohere", "tei"]) -> None:
    with reranking(tmp_path, shape) as emulator:
        async with model(emulator) as made:
            assert await made.score(QUESTION, TEXTS) == tuple(overlap(QUESTION, text) for text in TEXTS)
            assert await made.score(QUESTION, []) == ()
            many = [TEXTS[place % 4] + f" {place}" for place in range(150)]
            assert await made.score(QUESTION, many) == tuple(overlap(QUESTION, text) for text in many)
        sizes = [len(request.body["texts" if shape == "tei" else "documents"]) for request in emulator.requests]
        assert sorted(sizes) == ([4, 22, 32, 32, 32, 32] if shape == "tei" else [4, 50, 100])
        assert {request.path for request in emulator.requests} == {"/rerank" if shape == "tei" else "/v2/rerank"}
        assert shape == "tei" or {request.body["top_n"] for request in emulator.requests} == set(sizes)


async def test_long_passages_are_cut_and_half_characters_are_no_error(reranker: RerankerEmulator) -> None:  # noqa: F811 - the fixture
    async with model(reranker, passage_chars=100) as made:
        await made.score("Who? \ud800", ["a" * 5000, "b\udfff"])
    assert reranker.requests[0].body["documents"] == ["a" * 100, "b\ufffd"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"results": None},
        {"results": [{"index": 0, "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 0, "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 2, "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": -1, "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": True, "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": [1], "relevance_score": 1.0}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1, "relevance_score": math.nan}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1, "relevance_score": 10**400}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1, "relevance_score": "1"}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, {"index": 1}]},
        {"results": [{"index": 0, "relevance_score": 1.0}, "1"]},
    ],
)
async def test_an_answer_that_does_not_score_each_text_once_is_an_error(reranker: RerankerEmulator, body: Any) -> None:  # noqa: F811 - the fixture
    reranker.script.append(Reply(200, body))
    async with model(reranker) as made:
        with pytest.raises(ModelError) as caught:
            await made.score(QUESTION, TEXTS[:2])
    assert caught.value.hop == reranker.url
    assert caught.value.setting in ("rerank.provider", "rerank.model")


@pytest.mark.parametrize(
    ("changes", "status", "kind", "setting"),
    [
        ({"api_key": SecretStr("wrong")}, 0, ModelCredentialsError, "rerank.api_key"),
        ({"api_key": None}, 0, ModelCredentialsError, "rerank.api_key"),
        ({"model": "none-such"}, 0, ConfigurationError, "rerank.model"),
        ({"provider": "tei", "model": ""}, 404, ConfigurationError, "rerank.api_base"),
        ({}, 400, ModelError, "rerank.model"),
        ({}, 413, ModelError, "rerank.batch_size"),
        ({"provider": "tei"}, 422, ModelError, "rerank.batch_size"),
        ({"api_key": SecretStr("line\nbreak")}, 0, ConfigurationError, "rerank.api_key"),
    ],
)
async def test_what_the_service_refuses_names_the_key_to_look_at(
    reranker: RerankerEmulator,  # noqa: F811 - the fixture
    changes: dict[str, Any],
    status: int,
    kind: type[RagError],
    setting: str,
) -> None:
    if status:
        reranker.script.append(Reply(status, {"message": "no"}))
    async with model(reranker, **changes) as made:
        with pytest.raises(kind) as caught:
            await made.score(QUESTION, TEXTS)
    assert caught.value.setting == setting
    assert caught.value.hint
    assert KEY not in f"{caught.value!r}{caught.value}"


async def test_passing_failures_are_repeated_and_lasting_ones_are_not(reranker: RerankerEmulator) -> None:  # noqa: F811 - the fixture
    with without_waiting():
        async with model(reranker, max_retries=2) as made:
            reranker.script += [Reply(503, {}), Reply(429, {}, {"retry-after": "1"})]
            assert len(await made.score(QUESTION, TEXTS)) == len(TEXTS)
            reranker.script += [Reply(500, {})] * 3
            with pytest.raises(ServiceUnavailableError, match="HTTP 500"):
                await made.score(QUESTION, TEXTS)
            reranker.script += [Reply(429, {}, {"retry-after": "3000"})]
            with pytest.raises(OverloadedError, match="in 3000 s"):
                await made.score(QUESTION, TEXTS)
            reranker.script += [Reply(400, {})]
            with pytest.raises(ModelError):
                await made.score(QUESTION, TEXTS)
    assert len(reranker.requests) == 3 + 3 + 1 + 1


async def test_a_service_that_fails_again_and_again_is_left_alone(tmp_path: Path) -> None:
    with reranking(tmp_path) as emulator:
        ca, base = emulator.ca_file, emulator.base
    made = HttpReranker(RerankCfg(provider="cohere", model=MODEL, api_base=base, max_retries=0, timeout_s=20), NetworkPolicy(NetworkCfg(ca_bundle=ca)))
    for _ in range(5):
        with pytest.raises(UnreachableError, match="connection refused"):
            await made.score(QUESTION, TEXTS)
    with pytest.raises(ServiceUnavailableError, match="left alone for 10 s") as caught:
        await made.score(QUESTION, TEXTS)
    assert (caught.value.setting, caught.value.hop) == ("rerank.api_base", base.removesuffix("/v2"))
    await made.aclose()


async def test_its_time_holds_for_all_batches_and_a_shorter_deadline_of_the_caller_too(reranker: RerankerEmulator) -> None:  # noqa: F811 - the fixture
    def slow(request: Recorded) -> Reply | None:
        return Reply(200, {"results": []}, delay_s=30)

    reranker.always = slow
    async with model(reranker, timeout_s=0.3, batch_size=1) as made:
        with pytest.raises(DeadlineExceededError) as caught:
            await made.score(QUESTION, TEXTS)
        assert caught.value.setting == "rerank.timeout_s"
    async with model(reranker) as made:
        with deadline(0.3, "The search"), pytest.raises(DeadlineExceededError) as caught:
            await made.score(QUESTION, TEXTS)
        assert caught.value.setting == ""


async def test_a_caller_that_goes_away_ends_the_call_and_says_nothing_of_the_service(reranker: RerankerEmulator) -> None:  # noqa: F811 - the fixture
    reranker.always = lambda _: Reply(200, {"results": []}, delay_s=30)
    async with model(reranker) as made:
        for _ in range(6):
            asked = len(reranker.requests)
            task = asyncio.create_task(made.score(QUESTION, TEXTS))
            while len(reranker.requests) == asked:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        reranker.always = lambda _: None
        assert len(await made.score(QUESTION, TEXTS)) == len(TEXTS)


async def test_after_closing_it_is_not_used(reranker: RerankerEmulator) -> None:  # noqa: F811 - the fixture
    async with model(reranker) as made:
        await made.aclose()
        with pytest.raises(ResourceClosedError):
            await made.score(QUESTION, TEXTS)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://api.cohere.com/v2", "https://api.cohere.com/v2"),
        ("https://api.jina.ai/v1/rerank", "https://api.jina.ai/v1"),
        ("http://tei:8080/", "http://tei:8080"),
    ],
)
def test_the_address_may_be_written_whole(written: str, read: str) -> None:
    assert RerankCfg(provider="tei", api_base=written).api_base == read


@pytest.mark.parametrize("values", [{"provider": "tei"}, {"provider": "cohere", "api_base": "https://x"}, {"provider": "cohere", "model": "m"}])
def test_what_it_cannot_work_without_is_told_at_load(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is needed"):
        RerankCfg(**values)  # type: ignore[arg-type] - parametrize gives plain text
