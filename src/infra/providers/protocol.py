"""What every chat model and every embedding model does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

from ...core.chat import Message, ToolCall, ToolSpec, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ChatResult:
    content: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    degraded: tuple[str, ...] = ()
    """Why something other than what was asked for answered."""


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """A piece of a streamed answer; the last one carries ``finish_reason`` and, where the provider counts, ``usage``."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    degraded: tuple[str, ...] = ()
    """As of a `ChatResult`; on any piece."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What the model wants to have run, whole, on the last piece; its reason is then ``tool_calls``."""


class ChatModel(Protocol):
    """A chat model. A stream that ends without a finish reason raises ``StreamInterruptedError``: never a short answer."""

    @property
    def model(self) -> str:
        """Name for people and telemetry."""
        ...

    @property
    def extractive(self) -> bool:
        """True for the local model, which only quotes passages; the agent then gates on its calibrated evidence."""
        ...

    async def generate(self, messages: Sequence[Message] | str) -> ChatResult: ...

    def stream(self, messages: Sequence[Message] | str) -> AsyncIterator[ChatDelta]: ...

    async def aclose(self) -> None: ...


class ToolCallingModel(ChatModel, Protocol):
    """A chat model that can be offered tools."""

    calls_tools: bool
    """False where what stands behind it cannot; it is then a `ChatModel` like any other."""

    def stream(self, messages: Sequence[Message] | str, tools: Sequence[ToolSpec] = ()) -> AsyncIterator[ChatDelta]: ...


def tool_calling(chat: ChatModel) -> ToolCallingModel | None:
    """The model, where it can be offered tools."""
    return cast("ToolCallingModel", chat) if getattr(chat, "calls_tools", False) else None


class Embedder(Protocol):
    """An embedding model."""

    @property
    def model(self) -> str:
        """Identity of the vectors: model name with revision and quantisation. Indices store it and refuse another."""
        ...

    @property
    def dims(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dims), rows L2-normalised, order kept. Empty input gives shape (0, dims)."""
        ...

    async def aclose(self) -> None: ...


class Reranker(Protocol):
    """A model that reads question and passage together."""

    @property
    def model(self) -> str:
        """Name for people, telemetry and cursors."""
        ...

    async def score(self, query: str, texts: Sequence[str]) -> tuple[float, ...]:
        """How well each text answers the question, in their order: finite, more is better, on the model's own scale."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class TokenSource(Protocol):
    """Bearer tokens that can be thrown away when a service refuses them; `azure_auth.TokenProvider` is one."""

    async def token(self) -> str:
        """A valid token."""
        ...

    def invalidate(self, token: str) -> bool:
        """Give this token to nobody any more; False if it is not the one in use."""
        ...


class TokenSpans(Protocol):
    """The embedding model's tokenizer, as chunking needs it."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of each token of ``text``, special tokens left out, never truncated."""
        ...
