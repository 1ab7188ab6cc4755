"""`POST /v1/embeddings`: vectors of the model that the index is made with."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from ...infra.providers.minilm import MAX_TOKENS
from ..deps import CallerDep, PartsDep
from .bodies import EmbeddingsBody, texts_of
from .models import names_of
from .shapes import ParameterError
from .tokens import token_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v1", tags=["openai"])

LOCAL_TOKENS = MAX_TOKENS - 2
"""What the local model reads of a text, its two marks apart."""


@router.post("/embeddings")
async def embeddings(body: EmbeddingsBody, parts: PartsDep, identity: CallerDep) -> JSONResponse:
    """One vector of length 1 for each text, in OpenAI's shape."""
    names = await names_of(parts)
    names.check(body.model, names.embedding)
    embedder = await asyncio.to_thread(lambda: parts.resources.embedder)
    if body.dimensions is not None and body.dimensions != embedder.dims:
        raise ParameterError(f"The vectors of {body.model} have {embedder.dims} dimensions, not {body.dimensions}.", param="dimensions", hint="Leave it out.")
    texts = texts_of(body)
    counts = await token_counts(parts, texts)
    if parts.settings.embed.provider == "local":
        _check_lengths(counts)
    vectors = await embedder.embed(texts)
    data = await asyncio.to_thread(_entries, vectors, body.encoding_format == "base64")
    total = sum(counts)
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": {"prompt_tokens": total, "total_tokens": total}})


def _check_lengths(counts: Sequence[int]) -> None:
    for place, count in enumerate(counts):
        if count > LOCAL_TOKENS:
            text = f"The text has {count} tokens, and the local model reads {LOCAL_TOKENS}."
            raise ParameterError(text, param=f"input.{place}", hint="Cut it into shorter ones.")


def _entries(vectors: NDArray[np.float32], packed: bool) -> list[dict[str, Any]]:
    """Vectors as lists of numbers, or as base64 of little-endian 32-bit floats."""
    rows = vectors.astype("<f4")
    values = [base64.b64encode(row.tobytes()).decode() for row in rows] if packed else rows.tolist()
    return [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)]
