"""What clients of OpenAI's API send, and what of it this server cannot do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ...core.search import Mode
from ..schemas import Body, Filters
from .shapes import ParameterError

MAX_INPUTS = 2048
"""Texts of one request for embeddings, as OpenAI has it."""

NOT_APPLIED = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity")
"""How a model samples is the configuration's: taken, not applied, and the answer says so."""
_NEVER = ("functions", "logit_bias", "tools", "audio", "web_search_options", "stop", "moderation")
_NO_TOOLS = (None, "none", "auto")

Content = str | list[dict[str, Any]] | None


class ChatMessage(Body):
    """One message. Its text is a string, or a list of parts of the type ``text``."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: Any = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    tool_call_id: str | None = None


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class RagOptions(Body):
    """Ours beside OpenAI's parameters; the official client sends it as ``extra_body={"rag": {...}}``."""

    mode: Mode | None = None
    filters: Filters = Field(default_factory=dict)
    sources: bool = Field(True, description="End the text with a list of the sources that it cites.")


class CompletionBody(Body):
    """`POST /v1/chat/completions`"""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    rag: RagOptions = RagOptions()
    # Sampling: `NOT_APPLIED`.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    # They change no answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Any = None
    prompt_cache_retention: str | None = None
    prediction: Any = None
    parallel_tool_calls: bool | None = None
    # Refused where they ask for something: `check_supported`.
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    tool_choice: Any = None
    function_call: Any = None
    functions: Any = None
    logit_bias: Any = None
    tools: Any = None
    audio: Any = None
    web_search_options: Any = None
    stop: Any = None
    moderation: Any = None


class EmbeddingsBody(Body):
    """`POST /v1/embeddings`"""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Any = Field(description="A text, or a list of up to 2048 of them; lists of token numbers are refused.")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


def check_supported(body: CompletionBody) -> None:
    """
    Raises:
        ParameterError: a parameter asks for what this server does not do, and the answer would be another one with it.
    """
    for name in _asked_for(body):
        raise ParameterError(f"This server does not support {name!r} as it was sent.", param=name, hint="Leave it out.")


def _asked_for(body: CompletionBody) -> list[str]:
    found = [name for name in _NEVER if getattr(body, name)]
    if body.n not in (None, 1):
        found.append("n")
    if body.logprobs or body.top_logprobs:
        found.append("logprobs" if body.logprobs else "top_logprobs")
    if body.response_format is not None and body.response_format.get("type") != "text":
        found.append("response_format")
    if body.modalities not in (None, [], ["text"]):
        found.append("modalities")
    found += [name for name in ("tool_choice", "function_call") if getattr(body, name) not in _NO_TOOLS]
    return found


def not_applied(body: CompletionBody) -> tuple[str, ...]:
    """Parameters that were sent and have no effect."""
    return tuple(name for name in NOT_APPLIED if getattr(body, name) is not None)


def texts_of(body: EmbeddingsBody) -> list[str]:
    """The texts to embed.

    Raises:
        ParameterError: none, too many, an empty one, or tokens instead of texts.
    """
    given = [body.input] if isinstance(body.input, str) else body.input
    if not isinstance(given, list) or not given:
        raise ParameterError("A text is needed, or a list of texts.", param="input")
    if len(given) > MAX_INPUTS:
        raise ParameterError(f"{len(given)} texts are too many: {MAX_INPUTS} at most.", param="input", hint="Send them in several requests.")
    for place, text in enumerate(given):
        if not isinstance(text, str):
            hint = "Send text; LangChain does so with check_embedding_ctx_length=False."
            raise ParameterError("Numbers of tokens cannot be embedded: they are another model's.", param=f"input.{place}", hint=hint)
        if not text:
            raise ParameterError("An empty text has no embedding.", param=f"input.{place}")
    return given
