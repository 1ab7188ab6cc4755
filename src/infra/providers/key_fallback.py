"""An API key in place of an identity that fails, where the configuration allows it; never silently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.chat import Message, ToolSpec
from ...errors import DeadlineExceededError, ModelCredentialsError, RagError, ResourceClosedError
from ...telemetry.logger import get_logger
from .protocol import ChatDelta, ChatModel, ChatResult, Embedder, TokenSource, tool_calling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)

SHARE = 0.25
SHORT_S = 0.05
SHORT_FOR_S = 30.0
"""After a wait in vain the next ones are short for so long."""
TIMEOUT_S = 60.0


def reason(error: RagError) -> str:
    """What ``degraded`` says."""
    return f"the API key stood in for the Azure identity ({error.code})"


class Patience:
    """How long a call waits for a token before the key stands in.

    An identity that hangs would otherwise take `[azure] timeout_s` of every call, and leave the model nothing of its own time. A token that
    is there comes within microseconds, so a short wait misses none; what was begun goes on behind, so that the identity is used again
    as soon as it gives one.

    Args:
        timeout_s: of the model; a quarter of it is waited for the identity.
        clock: seconds, of any origin.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_s = timeout_s * SHARE
        self._clock = clock
        self._short_until: float | None = None

    @property
    def seconds(self) -> float:
        """What to wait now."""
        short = self._short_until is not None and self._clock() < self._short_until
        return min(SHORT_S, self._wait_s) if short else self._wait_s

    def spent(self, waited_s: float) -> None:
        """So much was waited for nothing. A wait that was short already makes it last no longer: after it the identity gets its time again."""
        if waited_s >= self._wait_s:
            self._short_until = self._clock() + SHORT_FOR_S

    def rewarded(self) -> None:
        """A token came."""
        self._short_until = None


async def _failure(tokens: TokenSource, patience: Patience) -> RagError | None:
    """Why the identity gives no token; None if it does."""
    wait_s = patience.seconds
    try:
        async with asyncio.timeout(wait_s):
            await tokens.token()
    except ResourceClosedError:
        raise
    except RagError as error:
        return error
    except TimeoutError:
        patience.spent(wait_s)
        text = f"The identity gave no token within {wait_s:g} s."
        late = DeadlineExceededError(text, hop=str(getattr(tokens, "hop", "")), setting="azure.timeout_s", hint="Check the way there.")
        last: object = getattr(tokens, "last_error", None)
        return last if isinstance(last, RagError) else late
    patience.rewarded()
    return None


def _told(error: RagError, section: str) -> tuple[str, ...]:
    log.warning("the API key stands in for the Azure identity", section=section, code=error.code, hop=error.hop, setting=error.setting)
    return (reason(error),)


class ChatWithKeyFallback:
    """A `ChatModel` under an identity; when that gives no token, or the service refuses it, the same one under a key answers.

    Args:
        chat: under the identity.
        by_key: the same model under the key.
        tokens: the identity.
        timeout_s: of the model; see `Patience`.
    """

    def __init__(self, chat: ChatModel, by_key: ChatModel, tokens: TokenSource, timeout_s: float = TIMEOUT_S) -> None:
        self._chat = chat
        self._by_key = by_key
        self._tokens = tokens
        self._patience = Patience(timeout_s)

    @property
    def model(self) -> str:
        return self._chat.model

    @property
    def extractive(self) -> bool:
        return self._chat.extractive

    @property
    def calls_tools(self) -> bool:
        return all(tool_calling(chat) is not None for chat in (self._chat, self._by_key))

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        """As the models do; ``degraded`` says when the key was used."""
        error = await _failure(self._tokens, self._patience)
        if error is None:
            try:
                return await self._chat.generate(messages)
            except ModelCredentialsError as refused:
                error = refused
        degraded = _told(error, "chat")
        result = await self._by_key.generate(messages)
        return replace(result, degraded=(*degraded, *result.degraded))

    async def stream(self, messages: Sequence[Message] | str, tools: Sequence[ToolSpec] = ()) -> AsyncIterator[ChatDelta]:
        """As the models do; the first piece says when the key was used. A credential is refused before the first piece, never after."""
        error = await _failure(self._tokens, self._patience)
        if error is None:
            try:
                async with aclosing(_streamed(self._chat, messages, tools)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except ModelCredentialsError as refused:
                error = refused
        yield ChatDelta(degraded=_told(error, "chat"))
        async with aclosing(_streamed(self._by_key, messages, tools)) as pieces:
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        await self._chat.aclose()
        await self._by_key.aclose()


def _streamed(chat: ChatModel, messages: Sequence[Message] | str, tools: Sequence[ToolSpec]) -> Any:
    caller = tool_calling(chat)
    return caller.stream(messages, tools) if caller is not None and tools else chat.stream(messages)


class EmbedderWithKeyFallback:
    """An `Embedder` likewise. ``degraded`` tells of the last call: vectors have no place for it."""

    def __init__(self, embedder: Embedder, by_key: Embedder, tokens: TokenSource, timeout_s: float = TIMEOUT_S) -> None:
        self._embedder = embedder
        self._by_key = by_key
        self._tokens = tokens
        self._patience = Patience(timeout_s)
        self.degraded: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def dims(self) -> int:
        return self._embedder.dims

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the embedders do."""
        error = await _failure(self._tokens, self._patience)
        if error is None:
            try:
                vectors = await self._embedder.embed(texts)
            except ModelCredentialsError as refused:
                error = refused
            else:
                self.degraded = ()
                return vectors
        self.degraded = _told(error, "embed")
        return await self._by_key.embed(texts)

    async def aclose(self) -> None:
        await self._embedder.aclose()
        await self._by_key.aclose()
