"""Answers of another shape than the protocol's: whatever JSON comes, what a caller sees is an error that names hop and setting."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from src.core.chat import ToolSpec
from src.errors import ForeignServiceError, RagError
from src.infra.clients import make_chat_client, make_embed_client
from src.infra.config import ChatCfg, EmbedCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.openai_embedder import OpenAIEmbedder
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Reply

MESSAGE = {"role": "assistant", "content": "hello", "tool_calls": None}
COMPLETION = {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 5}}
CALL = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "search", "arguments": "{}"}}
EVENTS = [
    {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {"choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 5}},
]
VECTORS = {"data": [{"index": 0, "embedding": [1.0] * 8}, {"index": 1, "embedding": "AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8="}]}
REFUSAL = {
    "error": {"code": "unsupported_value", "message": "no", "param": "temperature", "innererror": {"content_filter_result": {"hate": {"filtered": True}}}}
}
LONG = {"data": [{"index": place, "embedding": [10**400] * 8} for place in range(2)]}
NESTED: Any = json.loads("[" * 400 + "]" * 400)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**400, "content_filter", "tool_calls", "error"])
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("error"), inner, max_size=3), max_leaves=6
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def altered(good: Any) -> st.SearchStrategy[Any]:
    """The good answer with anything at one of its places, or without that place."""

    def put(path: tuple[Any, ...], value: Any, leave_out: bool) -> Any:
        if not path:
            return value
        found = inner = copy.deepcopy(good)
        for key in path[:-1]:
            inner = inner[key]
        if leave_out:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        return found

    return st.builds(put, st.sampled_from(list(places(good))), anything, st.booleans())


class World:
    """Models of a service that answers what a test says, on one event loop."""

    def __init__(self, azure: AzureOpenAIEmulator, runner: asyncio.Runner) -> None:
        self.azure = azure
        self.run = runner.run
        policy = NetworkPolicy(NetworkCfg(ca_bundle=azure.ca_file))
        common: dict[str, Any] = {"provider": "azure", "api_base": azure.url, "api_version": "2024-06-01", "api_key": SecretStr(KEY), "max_retries": 0}
        chat, embed = ChatCfg(model="gpt-4", **common), EmbedCfg(model="text-embedding-ada-002", dims=azure.dims, **common)
        self.chat = OpenAIChatModel(lambda: make_chat_client(chat, network=policy), chat)
        self.embedder = OpenAIEmbedder(lambda: make_embed_client(embed, network=policy), embed)

    async def streamed(self) -> str:
        tools = [ToolSpec("search", "Finds.", {"type": "object"})]
        return "".join([piece.text async for piece in self.chat.stream("hello", tools)])

    def calls(self) -> dict[str, Callable[[], Any]]:
        return {"chat": lambda: self.chat.generate("hello"), "stream": self.streamed, "embed": lambda: self.embedder.embed(["a", "b"])}

    def outcome(self, kind: str, reply: Reply) -> RagError | None:
        """None where the answer was good; anything but an error of ours passes through."""
        self.azure.always = lambda _: reply
        try:
            self.run(self.calls()[kind]())
        except RagError as error:
            return error
        return None

    async def aclose(self) -> None:
        await self.chat.aclose()
        await self.embedder.aclose()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("shapes")
    with AzureOpenAIEmulator(folder).running() as azure, asyncio.Runner() as runner:
        found = World(azure, runner)
        yield found
        runner.run(found.aclose())


OTHER = [
    [],
    "text",
    5,
    {"choices": "x"},
    {"choices": ["x"]},
    {"choices": {"a": 1}},
    {"choices": [{"message": "x"}]},
    {"choices": [{"message": {"content": ["a"]}, "finish_reason": "stop"}]},
    {"choices": [{"message": {"content": "a"}, "finish_reason": ["stop"]}]},
    NESTED,
]


@pytest.mark.parametrize("body", OTHER, ids=range(len(OTHER)))
def test_an_answer_of_another_shape_is_that_of_another_service(world: World, body: Any) -> None:
    error = world.outcome("chat", Reply(body=body))
    assert isinstance(error, ForeignServiceError)
    assert (error.hop, error.setting) == (world.azure.url, "chat.api_base")


@pytest.mark.parametrize(
    "body", [{"error": {"message": "quota"}}, {"data": None}, {"data": "x"}, {"data": [None]}, {"data": {"a": 1}}, {}, [], "x", NESTED, LONG]
)
def test_vectors_of_another_shape_are_those_of_another_service(world: World, body: Any) -> None:
    error = world.outcome("embed", Reply(body=body))
    assert isinstance(error, ForeignServiceError)
    assert (error.hop, error.setting) == (world.azure.url, "embed.api_base")


@pytest.mark.parametrize("event", [*OTHER, {"choices": [{"delta": "x"}]}, {"choices": [{"delta": {"tool_calls": ["x"]}}]}, None])
def test_an_event_of_another_shape_is_that_of_another_service(world: World, event: Any) -> None:
    if isinstance(event, dict) and "message" in str(event):
        event = json.loads(json.dumps(event).replace("message", "delta"))
    error = world.outcome("stream", Reply(events=[EVENTS[1], event]))
    assert isinstance(error, ForeignServiceError)
    assert (error.hop, error.setting) == (world.azure.url, "chat.api_base")


@pytest.mark.parametrize("usage", ["x", 5, [], {}, {"prompt_tokens": "x", "completion_tokens": -1}, {"prompt_tokens": None}, {"prompt_tokens": [1]}])
def test_an_answer_is_worth_no_less_for_numbers_that_are_none(world: World, usage: Any) -> None:
    assert world.outcome("chat", Reply(body={**COMPLETION, "usage": usage})) is None
    result = world.run(world.chat.generate("hello"))
    assert (result.content, result.usage.input_tokens, result.usage.output_tokens) == ("hello", 0, 0)
    assert world.outcome("stream", Reply(events=[*EVENTS[:4], {"choices": [], "usage": usage}])) is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"choices": ' * 5_000, "1" * 5_000])
def test_json_that_python_does_not_read_is_an_error_of_ours(world: World, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = json.dumps
    monkeypatch.setattr("tests.emulators.azure_openai.json.dumps", lambda value, **options: text if value == "unreadable" else real(value, **options))
    for kind, reply in (("chat", Reply(body="unreadable")), ("embed", Reply(body="unreadable")), ("stream", Reply(events=["unreadable"]))):
        error = world.outcome(kind, reply)
        assert error is not None
        assert (error.hop, error.setting) == (world.azure.url, f"{'embed' if kind == 'embed' else 'chat'}.api_base")


@pytest.mark.parametrize(
    ("kind", "reply", "bodies"),
    [
        ("chat", lambda body: Reply(body=body), altered(COMPLETION)),
        ("embed", lambda body: Reply(body=body), altered(VECTORS)),
        ("stream", lambda events: Reply(events=events if isinstance(events, list) else [events]), altered(EVENTS)),
        ("chat", lambda body: Reply(400, body), altered(REFUSAL)),
        ("stream", lambda body: Reply(403, body), altered(REFUSAL)),
        ("embed", lambda body: Reply(422, body), altered(REFUSAL)),
    ],
    ids=["answers", "vectors", "events", "400", "403", "422"],
)
def test_no_json_whatever_makes_anything_but_an_error_of_ours(world: World, kind: str, reply: Callable[[Any], Reply], bodies: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(bodies)
    def holds(body: Any) -> None:
        error = world.outcome(kind, reply(body))
        assert error is None or (error.hop == world.azure.url and error.setting) or error.code == "content-filtered"

    holds()
