"""Chat through the `openai` package: Azure OpenAI, OpenAI, and servers that speak the same protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from ...core.chat import Message, ToolSpec, Usage
from ...errors import ModelError, ResourceClosedError
from ...telemetry.calls import chat_call, chat_stream
from .openai_shapes import ShapeError, list_part, parsed, part, text_part
from .openai_stream import FINISH, Reading, joined, texts_of, usage_of
from .openai_tools import WITHOUT_TOOLS, message_payload, tools_payload
from .protocol import ChatDelta, ChatResult

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from ..config import ChatCfg
    from .openai_errors import ErrorMap

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
        try:
            async with asyncio.timeout(self._cfg.timeout_s):
                with errors.noted():
                    stream = await self._create(client, messages, tools, stream=True)
        except errors.failures as error:
            raise errors.translate(error) from None
        if tools and "tools" in self._unknown:
            yield ChatDelta(degraded=(WITHOUT_TOOLS,))
        read = Reading(errors)
        try:
            async with aclosing(texts_of(stream.response, read, errors)) as texts:
                async for text in texts:
                    yield ChatDelta(text)
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
    finish = FINISH.get(text_part(choices[0], "finish_reason"), "stop")
    return ChatResult(joined(text_part(message, "content")), finish, usage_of(part(completion, "usage")) or Usage())
