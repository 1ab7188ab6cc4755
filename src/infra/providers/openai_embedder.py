"""Embeddings through the `openai` package: Azure OpenAI, OpenAI, and servers that speak the same protocol."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...errors import ConfigurationError, InputError, ModelError, ResourceClosedError
from ...telemetry.calls import embedded, embeddings_call
from .openai_shapes import ShapeError, count, parsed, part, whole
from .tokenizer import encodable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openai import AsyncOpenAI

    from ..config import EmbedCfg

BATCH_TOKENS = 100_000
"""Estimated tokens of one call at most; OpenAI takes 300,000, other servers less."""
PARALLEL = 4
"""Calls at once."""


class OpenAIEmbedder:
    """An `Embedder` over HTTP: batches by number and size, order kept, rows made unit length.

    Args:
        client: gives the client, asked for with each call (`clients.make_embed_client` keeps it).
        cfg: `[embed]`; ``timeout_s`` holds for each batch.
    """

    def __init__(self, client: Callable[[], Any], cfg: EmbedCfg) -> None:
        self._make_client = client
        self._cfg = cfg
        self._client: AsyncOpenAI | None = None
        self._closed = False

    @property
    def model(self) -> str:
        return f"{self._cfg.provider}:{self._cfg.model}"

    @property
    def dims(self) -> int:
        return self._cfg.dims

    @embeddings_call
    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dims), in order.

        Raises:
            InputError: a text is empty or not a string.
            ConfigurationError: the model's vectors have another length than `embed.dims`, or there is no such model.
            ServiceUnavailableError, ModelCredentialsError, ModelError: as the service failed.
        """
        import numpy as np

        if self._closed:
            raise ResourceClosedError("The embedder was used after it was closed.")
        texts = _checked(texts)
        if not texts:
            return np.empty((0, self.dims), np.float32)
        if self._client is None:
            await asyncio.to_thread(_import_openai)
        client = self._client = cast("AsyncOpenAI", self._make_client())
        batches = iter(list(split_batches(texts, self._cfg.batch_size, BATCH_TOKENS)))
        vectors = np.empty((len(texts), self.dims), np.float32)

        async def worker() -> None:
            for start, end in batches:
                vectors[start:end] = await self._embed_batch(client, texts[start:end])

        workers = [asyncio.ensure_future(worker()) for _ in range(PARALLEL)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
        return vectors

    async def aclose(self) -> None:
        """Let the connection go. Again is harmless."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            from ..clients import aclose_client

            await aclose_client(client)

    async def _embed_batch(self, client: AsyncOpenAI, texts: list[str]) -> NDArray[np.float32]:
        from .openai_errors import ErrorMap

        errors = ErrorMap("embed", self._cfg, client)
        # The client asks for base64 as well, but makes lists of floats of it: a vector of 1,536 then takes 75 µs instead of 5.
        options: dict[str, Any] = {"encoding_format": "base64"}
        if "embedding-3" in self._cfg.model:  # only this family takes a length to cut its vectors to; others refuse the parameter
            options["dimensions"] = self._cfg.dims
        try:
            async with asyncio.timeout(self._cfg.timeout_s):
                with errors.noted():
                    response = await client.embeddings.create(model=self._cfg.deployed, input=texts, **options)
            if not isinstance(data := part(parsed(response), "data"), list):
                raise ShapeError
            embedded(self, count(part(parsed(response), "usage"), "prompt_tokens"))
            rows = {whole(part(item, "index")): _vector(part(item, "embedding")) for item in data}
        except errors.failures as error:
            raise errors.translate(error) from None
        if len(data) != len(texts) or set(rows) != set(range(len(texts))):
            raise ModelError(f"The model gave {len(data)} vectors for {len(texts)} texts.", hop=errors.hop, setting="embed.model")
        return self._normalised([rows[place] for place in range(len(texts))], errors.hop)

    def _normalised(self, rows: list[NDArray[np.float32]], hop: str) -> NDArray[np.float32]:
        import numpy as np

        wrong = next((len(row) for row in rows if len(row) != self.dims), None)
        if wrong is not None:
            raise ConfigurationError(
                f"The model's vectors have {wrong} dimensions, embed.dims says {self.dims}.",
                hop=hop,
                setting="embed.dims",
                hint=f"Set it to {wrong}, or name another model.",
            )
        matrix = np.stack(rows)
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise ModelError("The model gave a vector without a direction.", hop=hop, setting="embed.model")
        return cast("NDArray[np.float32]", matrix / lengths)


def _vector(embedding: str | list[float]) -> NDArray[np.float32]:
    """A vector as the service sent it: base64 of little-endian floats, as it was asked for, or numbers.

    Raises:
        ValueError: it is neither.
    """
    import numpy as np

    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    try:
        with np.errstate(over="ignore"):  # what is too long for these floats is without end, which is told by itself
            vector = np.array(embedding, np.float32)
    except (TypeError, OverflowError) as error:
        raise ValueError("not numbers") from error
    if vector.ndim != 1:
        raise ValueError("not a row of numbers")
    return vector


def _import_openai() -> None:
    """Takes about a second the first time: not on the event loop."""
    from . import openai_errors  # noqa: F401 - importing is the point


def estimated_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few: three bytes of UTF-8 each."""
    return len(text.encode()) // 3 + 1


def split_batches(texts: Sequence[str], most_texts: int, most_tokens: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each batch, in order; none is empty, and a text over the limit stands alone."""
    start, tokens = 0, 0
    for place, text in enumerate(texts):
        more = estimated_tokens(text)
        if place > start and (place - start >= most_texts or tokens + more > most_tokens):
            yield start, place
            start, tokens = place, 0
        tokens += more
    if texts:
        yield start, len(texts)


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("embed() takes a list of texts, not one text.", hint="Wrap it in a list.")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {place} of {len(texts)} to embed is of type {type(text).__name__}, not str.")
        if not text:
            raise InputError(f"Text {place} of {len(texts)} to embed is empty.")
    return [encodable(text) for text in texts]
