"""A small reranker over real HTTPS, in the shape of Cohere's API and its followers, or of Text Embeddings Inference.

It scores a text by the share of the question's words in it. What it answers next can be scripted as for `AzureOpenAIEmulator`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Recorded, Reply

MODEL = "rerank-v3.5"
TEI_BATCH = 32
"""Its own default of `--max-client-batch-size`."""


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def overlap(query: str, text: str) -> float:
    return round(len(words(query) & words(text)) / (len(words(query)) or 1), 4)


class RerankerEmulator(AzureOpenAIEmulator):
    """``shape``: whose API it speaks."""

    def __init__(self, folder: Path, shape: Literal["cohere", "tei"] = "cohere") -> None:
        super().__init__(folder)
        self.shape = shape

    @property
    def base(self) -> str:
        """What `[rerank] api_base` says."""
        return f"{self.url}/v2" if self.shape == "cohere" else self.url

    def _refusal(self, request: Recorded) -> Reply | None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Reply(401, {"message": "invalid api token"})
        if request.path != ("/v2/rerank" if self.shape == "cohere" else "/rerank"):
            return Reply(404, {"message": "not found"})
        if self.script or self.always(request):
            return None
        return Reply(200, self._ranked(request.body)) if not (wrong := self._wrong(request.body)) else wrong

    def _wrong(self, body: dict[str, Any]) -> Reply | None:
        if self.shape == "tei" and (set(body) - {"query", "texts", "truncate", "raw_scores", "return_text"} or "texts" not in body):
            return Reply(422, {"error": "Failed to deserialize the JSON body", "error_type": "validation"})
        if self.shape == "tei" and len(body["texts"]) > TEI_BATCH:
            return Reply(422, {"error": f"batch size {len(body['texts'])} > maximum allowed batch size {TEI_BATCH}", "error_type": "validation"})
        if self.shape == "cohere" and (set(body) - {"model", "query", "documents", "top_n", "max_tokens_per_doc", "priority"} or "documents" not in body):
            return Reply(422, {"message": "unknown field"})
        if self.shape == "cohere" and body["model"] != MODEL:
            return Reply(404, {"message": f"model '{body['model']}' not found"})
        return None

    def _ranked(self, body: dict[str, Any]) -> Any:
        """Best first, as both services answer: the index says which is which."""
        texts = body["texts"] if self.shape == "tei" else body["documents"]
        scores = sorted(((overlap(body["query"], text), place) for place, text in enumerate(texts)), key=lambda scored: (-scored[0], scored[1]))
        if self.shape == "tei":
            return [{"index": place, "score": score} for score, place in scores]
        results = [{"index": place, "relevance_score": score} for score, place in scores[: body.get("top_n", len(texts))]]
        return {"id": "r1", "results": results, "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}


@contextmanager
def reranking(folder: Path, shape: Literal["cohere", "tei"] = "cohere") -> Iterator[RerankerEmulator]:
    emulator = RerankerEmulator(folder, shape)
    with emulator.running():
        yield emulator


@pytest.fixture
def reranker(tmp_path: Path) -> Iterator[RerankerEmulator]:
    with reranking(tmp_path) as emulator:
        yield emulator
