"""Calls of models and search engines as client spans, in the names of OTel's conventions for generative AI and databases.

Each is a decorator: one line above the method. Names and figures alone are recorded, no prompt, answer, query or text,
unless `content.py` is told to keep prompts and answers.
The conventions: semantic-conventions 1.41 (databases: stable; generative AI: in development).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from . import content, metrics, otel
from .spans import NO_SPAN, NoSpan, begin, failure

if TYPE_CHECKING:
    from .running import RunningSpan

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

PROVIDERS = {"azure": "azure.ai.openai", "openai": "openai", "anthropic": "anthropic", "google": "gcp.gemini", "bedrock": "aws.bedrock"}
"""The conventions' names of ours; any other keeps its own."""


class _ModelCall:
    """One call of a model: its span and its metrics."""

    def __init__(self, model: Any, operation: str, more: Mapping[str, object] | None = None, *, asked: object = None, current: bool = True) -> None:
        self.shared = _shared(model, operation)
        self._started = time.perf_counter()
        kind = "CLIENT" if "server.address" in self.shared else "INTERNAL"
        name = f"{operation} {self.shared['gen_ai.request.model']}".strip()
        self.span = _begun(name, {**self.shared, **(more or {})}, kind, current=current)
        self._first = False
        self._asked = asked
        self._said: list[str] = []

    def piece(self, piece: Any) -> None:
        """A piece of an answer has come."""
        text: object = getattr(piece, "text", None)
        if text and not self._first:
            self._first = True
            seconds = time.perf_counter() - self._started
            self.span.add({"gen_ai.response.time_to_first_chunk": seconds})
            metrics.record("gen_ai.client.operation.time_to_first_chunk", seconds, self.shared)
        if self._asked is not None and isinstance(text, str):
            self._said.append(text)
        self.answered(piece)

    def answered(self, answer: Any) -> None:
        """Finish reason and tokens, where an answer tells them."""
        if isinstance(reason := getattr(answer, "finish_reason", None), str):
            self.span.add({"gen_ai.response.finish_reasons": reason})
        self.used(getattr(answer, "usage", None))
        if self._asked is not None and isinstance(text := getattr(answer, "content", None), str):
            self._said.append(text)

    def used(self, usage: Any) -> None:
        """What the service counted, where it did."""
        for kind in ("input", "output"):
            tokens = getattr(usage, f"{kind}_tokens", None)
            if isinstance(tokens, int) and tokens > 0:
                self.span.add({f"gen_ai.usage.{kind}_tokens": tokens})
                _count_tokens(self.shared, kind, tokens)

    def end(self, kind: type[BaseException] | None = None, error: BaseException | None = None) -> None:
        if self._asked is not None:
            content.capture("model call", self._asked, "".join(self._said), self.span.native, model=self.shared["gen_ai.request.model"])
        failed = failure(kind, error)
        more = {"error.type": failed} if failed else {}
        metrics.record("gen_ai.client.operation.duration", time.perf_counter() - self._started, {**self.shared, **more})
        self.span.end(kind, error)


def _shared(model: object, operation: str) -> dict[str, object]:
    cfg = getattr(model, "_cfg", None)
    provider = str(getattr(cfg, "provider", "local"))
    name = str(getattr(cfg, "model", None) or getattr(model, "model", "") or "")
    found: dict[str, object] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDERS.get(provider, provider),
        "gen_ai.request.model": name,
    }
    address = urlsplit(str(getattr(cfg, "api_base", "") or ""))
    if address.hostname:
        found |= {"server.address": address.hostname, "server.port": address.port or (443 if address.scheme == "https" else 80)}
    return found


def _count_tokens(shared: Mapping[str, object], kind: str, tokens: int) -> None:
    metrics.record("gen_ai.client.token.usage", tokens, {**shared, "gen_ai.token.type": kind})
    metrics.count_cost(str(shared["gen_ai.request.model"]), kind, tokens)


def embedded(model: object, tokens: int) -> None:
    """So many tokens a service has counted for texts that ``model`` embedded: several requests may make one call."""
    if tokens > 0 and metrics.recording():
        _count_tokens(_shared(model, "embeddings"), "input", tokens)


def chat_call(method: F) -> F:
    """A method that gives a model's whole answer: span ``chat MODEL``."""

    @wraps(method)
    async def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not (metrics.recording() or content.capturing()):
            return await method(self, *args, **kwargs)
        call = _ModelCall(self, "chat", asked=_asked(args, kwargs))
        try:
            answer = await method(self, *args, **kwargs)
            call.answered(answer)
        except BaseException as error:
            call.end(type(error), error)
            raise
        call.end()
        return answer

    return cast("F", traced)


def chat_stream(method: F) -> F:
    """A method that gives a model's answer piece by piece: one span over all of it, in which what the reader does between pieces has no part."""

    @wraps(method)
    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        pieces = method(self, *args, **kwargs)
        return _streamed(self, pieces, _asked(args, kwargs)) if metrics.recording() or content.capturing() else pieces

    return cast("F", traced)


def _asked(args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    """The messages of a call; None where content is not kept, so that nothing of it is even held."""
    return (args[0] if args else kwargs.get("messages")) if content.capturing() else None


async def _streamed(model: object, pieces: AsyncIterator[R], asked: object) -> AsyncIterator[R]:
    call = _ModelCall(model, "chat", {"gen_ai.request.stream": True}, asked=asked, current=False)
    try:
        while True:
            call.span.enter()
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                break
            finally:
                call.span.leave()
            call.piece(piece)
            yield piece
    except BaseException as error:
        call.end(type(error), error)
        raise
    else:
        call.end()
    finally:
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()


def embeddings_call(method: F) -> F:
    """A method that embeds texts: span ``embeddings MODEL``."""

    @wraps(method)
    async def traced(self: Any, texts: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        if not metrics.recording():
            return await method(self, texts, *args, **kwargs)
        call = _ModelCall(self, "embeddings", {"rag.texts": len(texts), "gen_ai.embeddings.dimension.count": getattr(self, "dims", None)})
        try:
            vectors = await method(self, texts, *args, **kwargs)
        except BaseException as error:
            call.end(type(error), error)
            raise
        call.end()
        return vectors

    return cast("F", traced)


def search_call(method: F) -> F:
    """A transport's ``(self, method, path, params, body, timeout_s, retry, index)``: span ``OPERATION INDEX``, repeats included."""

    @wraps(method)
    async def traced(self: Any, verb: str, path: str, *args: Any) -> Any:
        if not metrics.recording():
            return await method(self, verb, path, *args)
        started = time.perf_counter()
        operation, collection = operation_of(verb, path), str(args[-1] if args else "")
        address = urlsplit(str(self.host))
        shared = {
            "db.system.name": "opensearch",
            "db.operation.name": operation,
            "db.collection.name": collection or None,
            "server.address": address.hostname,
            "server.port": address.port or (443 if address.scheme == "https" else 80),
        }
        span = _begun(f"{operation} {collection}".strip(), {**shared, "http.request.method": verb}, "CLIENT")
        ended: tuple[type[BaseException], BaseException] | tuple[()] = ()
        failed = ""
        try:
            outcome = await method(self, verb, path, *args)
            status = cast("Sequence[Any]", outcome)[1]
            span.add({"db.response.status_code": str(status)})
            if isinstance(status, int) and status >= 400:
                failed = str(status)
                span.fail(failed)
        except BaseException as error:
            ended = (type(error), error)
            failed = failure(*ended)
            raise
        finally:
            metrics.record("db.client.operation.duration", time.perf_counter() - started, {**shared, "error.type": failed or None})
            span.end(*ended)
        return outcome

    return cast("F", traced)


def _begun(name: str, attributes: Mapping[str, object], kind: str, *, current: bool = True) -> RunningSpan | NoSpan:
    return begin(name, attributes, kind=kind, current=current) if otel.on() else NO_SPAN


def operation_of(verb: str, path: str) -> str:
    """The endpoint's name of a request's path, such as ``search`` of ``/docs/_search``; never an id, which stands behind it."""
    name = next((part.removeprefix("_") for part in path.partition("?")[0].split("/") if part.startswith("_")), "")
    return name or {"HEAD": "exists", "PUT": "create", "DELETE": "delete"}.get(verb, "get")
