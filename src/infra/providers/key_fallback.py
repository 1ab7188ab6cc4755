"""An API key in place of an identity that fails, where the configuration allows it; never silently."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.chat import Message, ToolSpec
from ...errors import ModelCredentialsError, RagError, ResourceClosedError
from ...telemetry.logger import get_logger
from .protocol import ChatDelta, ChatModel, ChatResult, Embedder, TokenSource, tool_calling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = get_logger(__name__)


def reason(error: RagError) -> str:
    """What ``degraded`` says."""
    return f"the API key stood in for the Azure identity ({error.code})"


async def _failure(tokens: TokenSource) -> RagError | None:
    """Why the identity gives no token; None if it does."""
    try:
        await tokens.token()
    except ResourceClosedError:
        raise
    except RagError as error:
        return error
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
    """

    def __init__(self, chat: ChatModel, by_key: ChatModel, tokens: TokenSource) -> None:
        self._chat = chat
        self._by_key = by_key
        self._tokens = tokens

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
        error = await _failure(self._tokens)
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
        error = await _failure(self._tokens)
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

    def __init__(self, embedder: Embedder, by_key: Embedder, tokens: TokenSource) -> None:
        self._embedder = embedder
        self._by_key = by_key
        self._tokens = tokens
        self.degraded: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def dims(self) -> int:
        return self._embedder.dims

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the embedders do."""
        error = await _failure(self._tokens)
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
