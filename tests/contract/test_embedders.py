"""What holds for every `Embedder`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from src.errors import InputError, ResourceClosedError
from src.infra.clients import make_embed_client
from src.infra.config import EmbedCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.embedding_cache import CachedEmbedder
from src.infra.providers.local_embedder import LocalEmbedder
from src.infra.providers.openai_embedder import OpenAIEmbedder
from src.infra.providers.protocol import Embedder

KINDS = ["local", "cached", "openai", "cached-openai"]
TEXTS = ["When is the night tariff?", "Die Zählerstände", "漢字 and \U0001f600", "x" * 3000]


@pytest.fixture(params=KINDS)
async def embedder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Embedder]:
    kind = str(request.param)
    inner: Embedder
    if "openai" in kind:
        cfg: EmbedCfg = request.getfixturevalue("embed_cfg")
        policy: NetworkPolicy = request.getfixturevalue("policy")
        inner = OpenAIEmbedder(lambda: make_embed_client(cfg, network=policy), cfg)
    else:
        inner = LocalEmbedder(request.getfixturevalue("model_cache"), threads=2)
    found = CachedEmbedder(inner, tmp_path / "vectors.sqlite", 1000) if "cached" in kind else inner
    yield found
    await found.aclose()


async def test_rows_are_unit_length_float32_in_order(embedder: Embedder) -> None:
    vectors = await embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dims)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    backwards = await embedder.embed(TEXTS[::-1])
    assert (backwards == vectors[::-1]).all()


async def test_the_same_text_has_the_same_vector_alone_and_in_company(embedder: Embedder) -> None:
    alone = [await embedder.embed([text]) for text in TEXTS]
    twice = await embedder.embed([*TEXTS, *TEXTS])
    assert (np.concatenate(alone + alone) == twice).all()


async def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    vectors = await embedder.embed([])
    assert vectors.shape == (0, embedder.dims)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("text", ["", " ", "\x00", "a\x00b", "\ud800", "\U0001f600\udfff", "word " * 20_000, "\n" * 1000])
async def test_odd_texts_get_a_vector_or_a_clear_refusal(embedder: Embedder, text: str) -> None:
    if not text and embedder.model.startswith("azure"):  # the service takes no empty text
        with pytest.raises(InputError, match="Text 1 of 2"):
            await embedder.embed(["ordinary", text])
        return
    vectors = await embedder.embed(["ordinary", text])
    assert np.isfinite(vectors).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_what_is_not_a_list_of_strings_is_refused(embedder: Embedder) -> None:
    for wrong in ("one text", ["a", 1], [None]):
        with pytest.raises(InputError):
            await embedder.embed(wrong)


async def test_the_identity_names_the_model(embedder: Embedder) -> None:
    assert embedder.model
    assert embedder.model in ("all-MiniLM-L6-v2/int8/r1", "azure:text-embedding-ada-002")
    assert embedder.dims > 0


async def test_closing_twice_is_harmless_and_use_after_it_an_error(embedder: Embedder) -> None:
    await embedder.embed(["a"])
    await embedder.aclose()
    await embedder.aclose()
    with pytest.raises(ResourceClosedError):
        await embedder.embed(["b"])
