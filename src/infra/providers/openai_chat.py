"""Chat through the `openai` package: Azure OpenAI, OpenAI, and servers that speak the same protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...core.chat import Message, ToolSpec, Usage
from ...errors import ModelError, ResourceClosedError
from ...telemetry.calls import chat_call, chat_stream
from .openai_shapes import ShapeError, count, list_part, parsed, part, text_part
from .openai_tools import WITHOUT_TOOLS, CallPieces, message_payload, tools_payload
from .protocol import ChatDelta, ChatResult, FinishReason

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..config import ChatCfg
    from .openai_errors import ErrorMap

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_OPTIONAL = frozenset({"max_tokens", "temperature", "stream_options", "tools"})


class OpenAIChatModel:
    """A `ChatModel` over HTTP.

    Some models take no temperature, newer ones no ``max_tokens``, older API versions no ``stream_options``: what the
    service does not know is left out, or put in its newer form, from the first refusal on. So are tools, and ``degraded`` says it.

    Args:
        client: gives the client, asked for with each call (`clients.make_chat_client` keeps it).
        cfg: `[chat]`.
    """

    calls_tools = True

    def __init__(self, client: Callable[[], Any], cfg: ChatCfg) -> None:
        self._make_client = client
        self._cfg = cfg
        self._client: AsyncOpenAI | None = None
        self._unknown: frozenset[str] = frozenset()
        self._closed = False

    @property
    def model(self) -> str:
        return self._cfg.model

    @property
    def extractive(self) -> bool:
        return False

    @chat_call
    async def generate(self, messages: Sequence[Message] | str) -> ChatResult:
        """The whole answer.

        Raises:
            ServiceUnavailableError, DeadlineExceededError: the service did not answer, or not within `chat.timeout_s`.
            ModelCredentialsError: the service does not accept our credential, or it may not use the model.
            ConfigurationError: there is no such deployment.
            ContentFilteredError: the provider's filter stopped question or answer.
            ModelError: the answer is not usable.
        """
        client, errors = await self._open()
        try:
            async with asyncio.timeout(self._cfg.timeout_s):
                with errors.noted():
                    completion = await self._create(client, messages, stream=False)
        except errors.failures as error:
            raise errors.translate(error) from None
        try:
            result = _result(completion)
        except ShapeError as error:
            raise errors.translate(error) from None
        if result is None:
            raise ModelError("The model gave no answer.", hop=errors.hop, setting="chat.model")
        if result.finish_reason == "content_filter":
            raise errors.filtered()
        return result

    @chat_stream
    async def stream(self, messages: Sequence[Message] | str, tools: Sequence[ToolSpec] = ()) -> AsyncIterator[ChatDelta]:
        """The answer piece by piece; the last piece carries finish reason, usage and calls. `chat.timeout_s` holds for all of it.

        Raises:
            StreamInterruptedError: it broke off; what came before is not an answer. Else as `generate`.
        """
        client, errors = await self._open()
        deadline = asyncio.get_running_loop().time() + self._cfg.timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                with errors.noted():
                    stream = await self._create(client, messages, tools, stream=True)
        except errors.failures as error:
            raise errors.translate(error) from None
        if tools and "tools" in self._unknown:
            yield ChatDelta(degraded=(WITHOUT_TOOLS,))
        read = _Read()
        try:
            async for chunk in _until(stream, deadline, errors):
                if text := read.feed(chunk):
                    yield ChatDelta(text)
        except ShapeError as error:
            raise errors.translate(error) from None
        finally:
            await stream.close()
        if read.finish is None:
            raise errors.empty(stream.response) if read.nothing else errors.interrupted()
        if read.finish == "content_filter":
            raise errors.filtered()
        yield read.last()

    async def aclose(self) -> None:
        """Let the connection go. Again is harmless."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            from ..clients import aclose_client

            await aclose_client(client)

    async def _open(self) -> tuple[AsyncOpenAI, ErrorMap]:
        if self._closed:
            raise ResourceClosedError("The chat model was used after it was closed.")
        if self._client is None:
            await asyncio.to_thread(_import_openai)
        from .openai_errors import ErrorMap

        self._client = cast("AsyncOpenAI", self._make_client())
        return self._client, ErrorMap("chat", self._cfg, self._client)

    async def _create(self, client: AsyncOpenAI, messages: Sequence[Message] | str, tools: Sequence[ToolSpec] = (), *, stream: bool) -> Any:
        import openai

        from .openai_errors import unsupported_option

        while True:
            unknown = self._unknown
            try:
                return await client.chat.completions.create(
                    model=self._cfg.deployed, messages=cast("Any", _payload(messages)), stream=stream, **self._options(stream, tools)
                )
            except openai.BadRequestError as error:
                name = unsupported_option(error, _OPTIONAL)
                if name is None or name in unknown:
                    raise
                self._unknown = self._unknown | {name}

    def _options(self, stream: bool, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        options: dict[str, Any] = {"temperature": self._cfg.temperature, "max_tokens": self._cfg.max_output_tokens}
        if stream:
            options["stream_options"] = {"include_usage": True}
        if tools:
            options["tools"] = tools_payload(tools)
        if "max_tokens" in self._unknown:
            options["max_completion_tokens"] = options["max_tokens"]
        return {name: value for name, value in options.items() if name not in self._unknown}


def _import_openai() -> None:
    """Takes about a second the first time: not on the event loop."""
    from . import openai_errors  # noqa: F401 - importing is the point


async def _until(stream: Any, deadline: float, errors: ErrorMap) -> AsyncIterator[Any]:
    """The stream's chunks. The deadline is set anew around each wait: a timeout must not span a ``yield``."""
    chunks = aiter(stream)
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except errors.failures as error:
            raise errors.translate_stream(error) from None
        yield chunk


class _Read:
    """What the chunks of one stream came to."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self.nothing = True
        self._usage: Usage | None = None
        self._halves = _Halves()
        self._calls = CallPieces()

    def feed(self, chunk: Any) -> str:
        """The text that a chunk adds."""
        self.nothing = False
        self._usage = _usage(part(chunk, "usage")) or self._usage
        choices = list_part(chunk, "choices")
        if not choices:  # Azure's first chunk has none, the one with the usage neither
            return ""
        self.finish = text_part(choices[0], "finish_reason") or self.finish
        delta = part(choices[0], "delta")
        if delta is None:
            return ""
        self._calls.feed(list_part(delta, "tool_calls"))
        content = text_part(delta, "content")
        return self._halves.feed(content) if content else ""

    def last(self) -> ChatDelta:
        """The last piece. An answer that was cut off has no whole call; some services say "stop" where there are calls."""
        finish = _FINISH.get(self.finish or "", "stop")
        calls = self._calls.whole() if finish != "length" else ()
        return ChatDelta(self._halves.flush(), "tool_calls" if calls else finish, self._usage, tool_calls=calls)


class _Halves:
    """Text in pieces, where a character outside the first plane (an emoji) may be cut into its two surrogates."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """What is whole now: a first half at the end waits for its second one."""
        text = self._half + piece
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return _joined(text[: len(text) - len(self._half)])

    def flush(self) -> str:
        """A half that has stayed alone."""
        half, self._half = self._half, ""
        return _joined(half)


def _joined(text: str) -> str:
    """``text`` with pairs of surrogates as the one character that they are, and each that stands alone, no character at all, as U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _payload(messages: Sequence[Message] | str) -> list[dict[str, Any]]:
    if isinstance(messages, str):
        messages = [Message("user", messages)]
    return [message_payload(message) for message in messages]


def _result(completion: Any) -> ChatResult | None:
    """What a whole answer says; None where it says nothing."""
    choices = list_part(parsed(completion), "choices")
    message = part(choices[0], "message") if choices else None
    if message is None:
        return None
    finish = _FINISH.get(text_part(choices[0], "finish_reason"), "stop")
    return ChatResult(_joined(text_part(message, "content")), finish, _usage(part(completion, "usage")) or Usage())


def _usage(usage: Any) -> Usage | None:
    return Usage(count(usage, "prompt_tokens"), count(usage, "completion_tokens")) if usage else None
