"""Rerankers over HTTP: ``POST …/rerank``, in the shape that Cohere began (`/v2/rerank`; also Jina, vLLM, LiteLLM, Infinity), or in that of
Hugging Face's Text Embeddings Inference.

Both take a question and a list of texts, and answer with a score for each, in an order of their own: an index says which is meant.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from ...errors import DeadlineExceededError, RagError, ResourceClosedError, ServiceUnavailableError
from ..config.rerank import PATH
from ..hops import Hop, foreign
from ..http_transport import make_async_client
from ..resilience.breaker import Breaker, Permit, Rules, watch_breakers
from ..resilience.deadline import clip
from ..resilience.retry import RetryBudget, RetryPolicy
from ..secrets.live import LiveSecret
from .attempts import Attempts
from .key_auth import ApiKey, KeyAuth
from .openai_embedder import split_batches
from .rerank_answers import Failed, failed_exchange, refused, scores_of
from .tokenizer import encodable

if TYPE_CHECKING:
    from ..config import RerankCfg
    from ..network import NetworkPolicy

BATCH_TOKENS = 100_000
"""Estimated tokens of one call at most."""
PARALLEL = 4
"""Calls at once."""
MOST_BYTES = 32 * 1024 * 1024
"""Of an answer: some servers repeat the passages in it."""
CLOCK_S = 0.05
"""A call that is cancelled so shortly before its time is over was silent until then."""
_FAILURES: tuple[type[Exception], ...] = (httpx2.HTTPError, httpx2.StreamError, OSError, anyio.EndOfStream, anyio.ClosedResourceError)


class HttpReranker:
    """A `Reranker` of `[rerank]`. Connects to nothing before the first call; usable from any event loop.

    Calls are repeated after passing failures within ``timeout_s``. After five failures in a row the service is left alone for ten
    seconds: each search would else wait for it.
    """

    def __init__(self, cfg: RerankCfg, network: NetworkPolicy) -> None:
        self._cfg = cfg
        self._network = network
        self._url = f"{cfg.api_base}{PATH}"
        self._client: httpx2.AsyncClient | None = None
        self._closed = False
        self._breaker = Breaker(Rules())
        watch_breakers("rerank", cfg.api_base or "", self._breaker)
        self._budget = RetryBudget()
        self._retries = RetryPolicy(cfg.max_retries)

    @property
    def model(self) -> str:
        return f"{self._cfg.provider}:{self._cfg.model}"

    async def score(self, query: str, texts: Sequence[str]) -> tuple[float, ...]:
        """How well each text answers the question, in their order; more is better, and the scale is the model's.

        Raises:
            ServiceUnavailableError: no answer; its kinds.
            ModelError: an answer that is none: not one finite score for each text.
            ModelCredentialsError, ConfigurationError: the key, the model or the address is wrong.
        """
        if self._closed:
            raise ResourceClosedError("The reranker was used after it was closed.")
        cut = [encodable(text[: self._cfg.passage_chars]) for text in texts]
        batches = iter(list(split_batches(cut, self._cfg.per_call, BATCH_TOKENS)))
        scores = [0.0] * len(cut)
        seconds = clip(self._cfg.timeout_s, "waiting to ask the reranker")
        attempts = Attempts(asyncio.get_running_loop().time() + seconds)

        async def worker() -> None:
            for start, end in batches:
                scores[start:end] = await self._scored(encodable(query), cut[start:end], attempts.ends)

        limit, workers = asyncio.timeout_at(attempts.ends), list[asyncio.Task[None]]()
        try:
            with attempts.noted():
                async with limit:
                    workers = [asyncio.create_task(worker()) for _ in range(min(PARALLEL, len(cut)))]
                    await asyncio.gather(*workers)
        except TimeoutError:
            raise self._late(attempts, seconds) from None
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return tuple(scores)

    async def aclose(self) -> None:
        """Let the connections go. Again is harmless."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def _hop(self) -> Hop:
        url = httpx2.URL(self._url)
        address = f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")
        way = Hop("The reranker", address, "rerank.api_base", "rerank.timeout_s", repeats_setting="rerank.max_retries")
        return way.through(self._network.proxy_for(url.host, url.port, url.scheme))

    async def _scored(self, query: str, texts: list[str], ends: float) -> list[float]:
        """One call, repeated while it may be."""
        self._budget.deposit()
        retries = self._retries.start(self._budget)
        if self._cfg.provider == "tei":
            body: dict[str, Any] = {"query": query, "texts": texts, "truncate": True}
        else:
            body = {"model": self._cfg.model, "query": query, "documents": texts, "top_n": len(texts)}
        data = json.dumps(body).encode()
        while True:
            answer = await self._attempt(data, ends)
            if not isinstance(answer, Failed):
                found = scores_of(answer, len(texts), self._cfg, self._hop)
                del answer  # some show the local variables of an error's frames, and a service may repeat anything
                if isinstance(found, RagError):
                    raise found
                return found
            left = ends - asyncio.get_running_loop().time()
            if not answer.passing or not await retries.again(answer.retry_after_s, within_s=left):
                raise answer.error

    async def _attempt(self, data: bytes, ends: float) -> bytes | Failed:
        """One exchange; tells the breaker how it went."""
        loop = asyncio.get_running_loop()
        permit, began = self._admitted(), loop.time()
        try:
            found = await self._exchanged(data)
        except asyncio.CancelledError:
            if ends - loop.time() < CLOCK_S:
                self._breaker.failed(permit, "It did not answer in time.", min(1.0, (loop.time() - began) / self._cfg.timeout_s))
            else:
                self._breaker.released(permit)
            raise
        except BaseException:  # the key cannot be read, or a fault of ours: no word on the service
            self._breaker.released(permit)
            raise
        if isinstance(found, Failed) and found.counts:
            self._breaker.failed(permit, found.error.message)
        else:
            self._breaker.succeeded(permit)
        return found

    async def _exchanged(self, data: bytes) -> bytes | Failed:
        if self._client is None:
            self._client = self._opened()
        headers = {"content-type": "application/json", "accept": "application/json"}
        try:
            async with self._client.stream("POST", self._url, content=data, headers=headers) as response:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MOST_BYTES:
                        return Failed(foreign(self._hop, f"more than {MOST_BYTES // 2**20} MiB"))
        except RagError:
            raise
        except _FAILURES as error:
            return failed_exchange(error, self._hop)
        if response.status_code >= 300:
            return refused(response.status_code, response.headers, self._cfg, self._hop)
        if "html" in response.headers.get("content-type", ""):
            return Failed(foreign(self._hop, "a web page"))
        return bytes(body)

    def _opened(self) -> httpx2.AsyncClient:
        client = make_async_client(self._network, self._cfg.timeout_s)
        if self._cfg.api_key is not None:
            client.auth = KeyAuth(ApiKey(self._cfg.api_key, "rerank.api_key"), "authorization")
        return client

    def _admitted(self) -> Permit:
        permit = self._breaker.admit()
        if permit is not None:
            return permit
        text = f"The reranker failed again and again and is left alone for {self._breaker.retry_in_s:.0f} s. {self._breaker.reason}"
        raise ServiceUnavailableError(text, hop=self._hop.address, proxy=self._hop.proxy, setting="rerank.api_base", hint="Look at the service.")

    def _late(self, attempts: Attempts, seconds: float) -> RagError:
        if attempts.waiting == "secret" and isinstance(attempts.secret, LiveSecret):
            return attempts.secret.late("rerank.timeout_s", seconds)
        setting = "rerank.timeout_s" if seconds == self._cfg.timeout_s else ""  # else a caller's time was over
        text, hint = f"The reranker did not answer within {seconds:.3g} s.", "Raise it, have it order fewer `candidates`, or check proxy and service."
        return DeadlineExceededError(text, hop=self._hop.address, proxy=self._hop.proxy, setting=setting, hint=hint)
