from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from src.errors import ResourceClosedError
from src.infra.providers import local_embedder
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.minilm import DIMS, MAX_TOKENS, WEIGHTS_SHA256, source_file
from src.infra.providers.minilm_graph import build_model
from src.infra.providers.tokenizer import LazyTokenizer
from src.util.aio import run_sync

TEXTS = (
    "The night tariff applies from 22:00 to 06:00.",
    "How do I read my electricity meter?",
    "Employees accrue vacation days monthly; unused days expire in March of the following year.",
    "0-dimensional biomaterials show inductive properties.",
    "Die Zählerstände werden jährlich abgelesen.",
)


@pytest.fixture
async def embedder(model_cache: Path) -> AsyncIterator[LocalEmbedder]:
    found = LocalEmbedder(model_cache, threads=2)
    yield found
    await found.aclose()


async def test_int8_vectors_are_close_to_those_of_the_model_in_fp32(embedder: LocalEmbedder, model_cache: Path) -> None:
    import onnxruntime

    weights = load_file(source_file("model.safetensors", WEIGHTS_SHA256))
    session = onnxruntime.InferenceSession(build_model(weights, quantised=False), providers=["CPUExecutionProvider"])
    tokenizer = LazyTokenizer(model_cache, MAX_TOKENS).get()
    exact = np.concatenate([session.run(None, {"ids": np.array([tokenizer.encode(text).ids], np.int64)})[0] for text in TEXTS])
    cosines = ((await embedder.embed(TEXTS)) * exact).sum(axis=1)
    assert cosines.min() >= 0.99


async def test_meaning_is_kept(embedder: LocalEmbedder) -> None:
    question, near, far = await embedder.embed(["When is electricity cheaper?", TEXTS[0], TEXTS[3]])
    assert question @ near > question @ far + 0.1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=9), data=st.data())
def test_a_vector_depends_on_its_text_alone(model_cache: Path, texts: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))

    async def check() -> None:
        one, two = LocalEmbedder(model_cache, threads=1), LocalEmbedder(model_cache, threads=2)
        together = await two.embed(texts)
        shuffled = await one.embed([texts[place] for place in order])
        alone = await one.embed([texts[0]])
        assert (together[order] == shuffled).all()
        assert (alone[0] == together[0]).all()
        await one.aclose()
        await two.aclose()

    run_sync(check())


async def test_only_the_first_256_tokens_are_read(embedder: LocalEmbedder) -> None:
    long = "meter reading " * 127  # 254 tokens, and the two special ones
    first, second, shorter = await embedder.embed([long + "tariff", long + "safety boots", "meter reading " * 100])
    assert (first == second).all()
    assert (first != shorter).any()


async def test_callers_at_once_load_the_model_once(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = local_embedder._open_session
    monkeypatch.setattr(local_embedder, "_open_session", lambda path: opened.append(path) or original(path))
    embedder = LocalEmbedder(model_cache, threads=2)
    results = await asyncio.gather(*(embedder.embed(["When is the tariff low?"]) for _ in range(12)))
    assert len(opened) == 1
    assert all((result == results[0]).all() for result in results)
    await embedder.aclose()


async def test_a_cancelled_call_leaves_the_embedder_usable(embedder: LocalEmbedder) -> None:
    call = asyncio.ensure_future(embedder.embed(["a text of some words"] * 200))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await embedder.embed(["still here"])).shape == (1, DIMS)


async def test_it_works_from_several_event_loops(embedder: LocalEmbedder) -> None:
    here = await embedder.embed(["one"])
    there = await asyncio.to_thread(lambda: run_sync(embedder.embed(["one"])))
    assert (here == there).all()


async def test_a_call_that_is_overtaken_by_close_says_so_or_ends(model_cache: Path) -> None:
    embedder = LocalEmbedder(model_cache, threads=1)
    await embedder.embed(["load"])
    call = asyncio.ensure_future(embedder.embed(["some words"] * 40))
    await asyncio.sleep(0.01)
    await embedder.aclose()
    with contextlib.suppress(ResourceClosedError):
        assert (await call).shape == (40, DIMS)


def test_nothing_is_loaded_before_the_first_text(tmp_path: Path) -> None:
    embedder = LocalEmbedder(tmp_path / "absent")
    assert embedder.dims == DIMS
    assert not (tmp_path / "absent").exists()
