from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from src.core.chat import Message, ToolCall, ToolSpec, Usage
from src.errors import (
    ConfigurationError,
    ContentFilteredError,
    DeadlineExceededError,
    ForeignServiceError,
    ModelCredentialsError,
    ModelError,
    OverloadedError,
    RagError,
    ResourceClosedError,
    ServiceUnavailableError,
    StreamInterruptedError,
)
from src.infra.clients import make_chat_client, release_client
from src.infra.config import ChatCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.providers.openai_chat import OpenAIChatModel
from src.infra.providers.protocol import ChatDelta
from src.util.aio import run_sync
from tests.emulators.azure_openai import ANSWER, KEY, TOKEN, AzureOpenAIEmulator, Reply, content_filter_body

QUESTION = "What does Ms Example of accounting earn?"
MakeModel = Callable[..., OpenAIChatModel]


@pytest.fixture
async def make(chat_cfg: ChatCfg, policy: NetworkPolicy) -> AsyncIterator[MakeModel]:
    models: list[OpenAIChatModel] = []

    def build(tokens: Any = None, network: NetworkPolicy = policy, **changes: Any) -> OpenAIChatModel:
        cfg = chat_cfg.model_copy(update=changes)
        models.append(OpenAIChatModel(lambda: make_chat_client(cfg, tokens, network=network), cfg))
        return models[-1]

    yield build
    for model in models:
        await model.aclose()


async def collect(model: OpenAIChatModel) -> list[ChatDelta]:
    return [delta async for delta in model.stream(QUESTION)]


async def test_an_answer_with_its_usage(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    result = await make().generate([Message("system", "Be brief."), Message("user", QUESTION)])
    assert result.content == "".join(ANSWER)
    assert (result.finish_reason, result.usage) == ("stop", Usage(11, 5))
    (request,) = azure.requests
    assert request.path == "/openai/deployments/gpt-4/chat/completions"
    assert request.query == {"api-version": ["2024-06-01"]}
    assert request.headers["api-key"] == KEY
    assert request.body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (request.body["temperature"], request.body["max_tokens"]) == (0.0, 1024)


async def test_a_stream_ends_with_finish_reason_and_usage(make: MakeModel) -> None:
    deltas = await collect(make())
    assert "".join(delta.text for delta in deltas[:-1]) == "".join(ANSWER)
    assert all(delta.finish_reason is None for delta in deltas[:-1])
    assert (deltas[-1].finish_reason, deltas[-1].usage) == ("stop", Usage(11, 5))


async def test_openai_itself_and_its_kin(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    result = await make(provider="openai", api_base=f"{azure.url}/v1", api_version=None).generate(QUESTION)
    assert result.content == "".join(ANSWER)
    (request,) = azure.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert not {"openai-organization", "openai-project"} & set(request.headers)


async def test_nothing_of_the_environment_is_sent(azure: AzureOpenAIEmulator, make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "leak")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "leak")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-custom: leak")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    await make().generate(QUESTION)
    assert "leak" not in str(azure.requests[0].headers)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_token_provider_is_asked_for_every_attempt(azure: AzureOpenAIEmulator, make: MakeModel, kind: str) -> None:
    asked: list[str] = []

    def sync() -> str:
        asked.append("x")
        return TOKEN

    async def asynchronous() -> str:
        return sync()

    model = make(sync if kind == "sync" else asynchronous, api_key=None)
    await model.generate(QUESTION)
    await model.generate(QUESTION)
    assert len(asked) == 2
    assert azure.requests[1].headers["authorization"] == f"Bearer {TOKEN}"
    assert "api-key" not in azure.requests[1].headers


async def test_a_token_provider_that_fails_is_a_credentials_error(make: MakeModel) -> None:
    def broken() -> str:
        raise KeyError("no certificate")

    with pytest.raises(ModelCredentialsError) as caught:
        await make(broken, api_key=None).generate(QUESTION)
    assert caught.value.setting == "azure.credential"


FAILURES: list[tuple[Reply, type[RagError], str]] = [
    (Reply(403, {"error": {"code": "Forbidden", "message": QUESTION}}), ModelCredentialsError, "chat.api_key"),
    (Reply(429, {"error": {"code": "429", "message": QUESTION}}, {"retry-after": "7"}), OverloadedError, "in 7 s"),
    (Reply(500, {"error": {"message": QUESTION}}), ServiceUnavailableError, "HTTP 500"),
    (Reply(503, "no json: " + QUESTION), ServiceUnavailableError, "HTTP 503"),
    (Reply(400, content_filter_body()), ContentFilteredError, "violence"),
    (Reply(400, {"error": {"code": "context_length_exceeded", "message": QUESTION}}), ModelError, "retrieval.context_tokens"),
    (Reply(400, {"error": {"code": "bad_thing", "message": QUESTION}}), ModelError, "bad_thing"),
    (Reply(400, {"error": {"code": QUESTION, "message": QUESTION}}), ModelError, "HTTP 400"),
    (Reply(302, {}, {"location": "https://elsewhere.example/"}), ForeignServiceError, "chat.api_base"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reply", "kind", "word"), FAILURES)
async def test_each_refusal_is_the_right_error_without_the_prompt(
    azure: AzureOpenAIEmulator,
    make: MakeModel,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    kind: type[RagError],
    word: str,
    stream: bool,
) -> None:
    azure.script.append(reply)
    with caplog.at_level(logging.INFO), pytest.raises(RagError) as caught:
        await (collect(make()) if stream else make().generate(QUESTION))
    assert type(caught.value) is kind
    assert word in str(caught.value)
    assert caught.value.hop == azure.url
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "Ms Example" not in shown
    assert KEY not in shown


async def test_a_wrong_key_names_its_own_key(make: MakeModel) -> None:
    with pytest.raises(ModelCredentialsError, match=r"chat.api_key"):
        await make(api_key=SecretStr("wrong")).generate(QUESTION)
    with pytest.raises(ModelCredentialsError, match=r"chat.api_key"):
        await make(provider="openai", api_key=SecretStr("wrong")).generate(QUESTION)


async def test_an_unknown_deployment_names_the_setting(make: MakeModel) -> None:
    with pytest.raises(ConfigurationError, match="'gpt-9'") as caught:
        await make(model="gpt-9").generate(QUESTION)
    assert caught.value.setting == "chat.model"


async def test_a_filtered_answer_is_an_error_both_ways(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.extend([Reply(finish="content_filter"), Reply(finish="content_filter")])
    with pytest.raises(ContentFilteredError):
        await make().generate(QUESTION)
    with pytest.raises(ContentFilteredError):
        await collect(make())


@pytest.mark.parametrize("quietly", [False, True])
@pytest.mark.parametrize("after", [0, 1, 3, 6])
async def test_a_cut_stream_is_an_error_never_a_short_answer(azure: AzureOpenAIEmulator, make: MakeModel, after: int, quietly: bool) -> None:
    azure.script.append(Reply(cut_after=after, end_quietly=quietly))
    with pytest.raises(StreamInterruptedError):
        await collect(make())


async def test_a_stream_that_ends_quietly_behind_its_finish_is_whole(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.append(Reply(cut_after=7, end_quietly=True))
    deltas = await collect(make())
    assert "".join(delta.text for delta in deltas) == "".join(ANSWER)
    assert deltas[-1].usage is None


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_first_byte_runs_into_the_deadline(azure: AzureOpenAIEmulator, make: MakeModel, stream: bool) -> None:
    azure.script.append(Reply(delay_s=30))
    model = make(timeout_s=0.3)
    with pytest.raises(DeadlineExceededError) as caught:
        await (collect(model) if stream else model.generate(QUESTION))
    assert caught.value.setting == "chat.timeout_s"


async def test_the_deadline_holds_for_all_of_a_stream(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.append(Reply(event_gap_s=0.2))
    with pytest.raises(DeadlineExceededError):
        await collect(make(timeout_s=0.6))


async def test_it_tries_again_as_often_as_configured(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    soon = {"retry-after-ms": "1"}
    azure.script.extend([Reply(429, {}, soon), Reply(503, {}, soon)])
    assert (await make(max_retries=2).generate(QUESTION)).content
    assert len(azure.requests) == 3
    azure.script.extend([Reply(429, {}, soon)] * 2)
    with pytest.raises(ServiceUnavailableError):
        await make(max_retries=1).generate(QUESTION)
    assert len(azure.requests) == 5


async def test_what_an_older_service_does_not_know_is_left_out(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.unknown_arguments = {"stream_options", "max_tokens", "temperature"}
    model = make()
    deltas = await collect(model)
    assert deltas[-1].finish_reason == "stop"
    await collect(model)
    assert len(azure.requests) == 5, "it remembers"
    assert azure.requests[-1].body["max_completion_tokens"] == 1024


async def test_nobody_there_is_an_outage_that_names_the_hop(make: MakeModel) -> None:
    with pytest.raises(ServiceUnavailableError) as caught:
        await make(api_base="https://127.0.0.1:9").generate(QUESTION)
    assert caught.value.hop == "https://127.0.0.1:9"


async def test_an_untrusted_certificate_names_the_bundle(make: MakeModel) -> None:
    with pytest.raises(ServiceUnavailableError, match="not trusted") as caught:
        await make(network=NetworkPolicy(NetworkCfg())).generate(QUESTION)
    assert caught.value.setting == "network.ca_bundle"


async def test_a_proxy_that_is_not_there_is_named_without_its_credentials(make: MakeModel, policy: NetworkPolicy) -> None:
    bundle = policy._cfg.ca_bundle
    network = NetworkPolicy(NetworkCfg(ca_bundle=bundle, proxy=SecretStr("http://user:hunter2@127.0.0.1:9")))
    with pytest.raises(ServiceUnavailableError) as caught:
        await make(network=network).generate(QUESTION)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    direct = NetworkPolicy(NetworkCfg(ca_bundle=bundle, proxy=SecretStr("http://127.0.0.1:9"), no_proxy=("localhost",)))
    assert (await make(network=direct).generate(QUESTION)).content


async def test_text_that_is_no_unicode_is_sent_all_the_same(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    await make().generate("lone \ud800 surrogate and \x00")
    assert azure.requests[0].body["messages"][0]["content"] == "lone \ufffd surrogate and \x00"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["Well \ud83d", "\ude00 done."], "Well \U0001f600 done."),
        (["Well \ud83d", " done."], "Well \ufffd done."),
        (["\ude00 at", " last \ud83d"], "\ufffd at last \ufffd"),
    ],
)
async def test_an_emoji_cut_in_two_is_joined_and_a_half_alone_is_no_error(azure: AzureOpenAIEmulator, make: MakeModel, pieces: list[str], text: str) -> None:
    azure.script.extend([Reply(pieces=pieces), Reply(pieces=pieces)])
    deltas = await collect(make())
    assert "".join(delta.text for delta in deltas) == text
    assert all(delta.text.encode() is not None for delta in deltas)
    assert deltas[-1].finish_reason == "stop"
    assert (await make().generate(QUESTION)).content == text


async def test_one_model_serves_several_event_loops(make: MakeModel) -> None:
    model = make()
    await model.generate(QUESTION)
    for _ in range(2):
        assert (await asyncio.to_thread(lambda: asyncio.run(model.generate(QUESTION)))).content
    assert (await asyncio.to_thread(lambda: run_sync(model.generate(QUESTION)))).content
    assert (await model.generate(QUESTION)).content


async def test_calls_share_their_connection(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    model = make()
    for _ in range(3):
        await model.generate(QUESTION)
    await collect(model)
    assert azure.connections == 1


async def test_an_evicted_client_finishes_its_stream_and_keeps_working(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.append(Reply(event_gap_s=0.02))
    model = make()
    stream = model.stream(QUESTION)
    first = await anext(stream)
    client = model._client
    transport = client._client._transport
    release_client(client)
    rest = [delta async for delta in stream]
    assert first.text + "".join(delta.text for delta in rest) == "".join(ANSWER)
    for _ in range(200):
        if azure.open_connections == 0:
            break
        await asyncio.sleep(0.01)
    assert azure.open_connections == 0, "its connection closed once nothing was in flight"
    again = await client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "x"}])
    assert again.choices
    assert (transport.pools, transport.in_flight) == (0, 0)


async def test_a_stream_that_is_left_early_frees_its_connection(make: MakeModel) -> None:
    model = make()
    stream = model.stream(QUESTION)
    await anext(stream)
    transport = model._client._client._transport
    await stream.aclose()
    assert transport.in_flight == 0


async def test_a_cancelled_call_frees_its_connection(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.append(Reply(delay_s=30))
    model = make()
    call = asyncio.ensure_future(model.generate(QUESTION))
    while not azure.requests:
        await asyncio.sleep(0.005)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert model._client._client._transport.in_flight == 0
    assert (await model.generate(QUESTION)).content


async def test_close_closes_the_connection_and_use_after_it_is_an_error(make: MakeModel) -> None:
    model = make()
    await model.generate(QUESTION)
    transport = model._client._client._transport
    assert transport.pools == 1
    await model.aclose()
    assert transport.pools == 0
    await model.aclose()
    with pytest.raises(ResourceClosedError):
        await model.generate(QUESTION)


# -- tools

SEARCH = ToolSpec("search", "Search.", {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]})


async def test_tool_calls_arrive_whole_and_their_answers_go_back(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    model = make()
    azure.script.append(Reply(calls=[("search", '{"query": "tariff"}'), ("fetch", "{}")]))
    (last,) = [delta async for delta in model.stream(QUESTION, [SEARCH])]
    assert last.finish_reason == "tool_calls"
    assert last.tool_calls == (ToolCall("call_0", "search", '{"query": "tariff"}'), ToolCall("call_1", "fetch", "{}"))
    assert azure.requests[-1].body["tools"][0]["function"] == {"name": "search", "description": "Search.", "parameters": dict(SEARCH.parameters)}
    told = [Message("user", QUESTION), Message("assistant", "", last.tool_calls[:1]), Message("tool", "Nothing.", tool_call_id="call_0")]
    assert "".join([delta.text async for delta in model.stream(told)]) == "".join(ANSWER)
    _, assistant, answer = azure.requests[-1].body["messages"]
    assert assistant["tool_calls"] == [{"id": "call_0", "type": "function", "function": {"name": "search", "arguments": '{"query": "tariff"}'}}]
    assert answer == {"role": "tool", "content": "Nothing.", "tool_call_id": "call_0"}
    assert "tools" not in azure.requests[-1].body


async def test_calls_that_were_cut_off_are_none(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.script.append(Reply(calls=[("search", '{"query": ')], finish="length"))
    (last,) = [delta async for delta in make().stream(QUESTION, [SEARCH])]
    assert (last.finish_reason, last.tool_calls) == ("length", ())


async def test_a_service_that_takes_no_tools_answers_without_them_and_says_so(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    azure.unknown_arguments.add("tools")
    deltas = [delta async for delta in make().stream(QUESTION, [SEARCH])]
    assert "".join(delta.text for delta in deltas) == "".join(ANSWER)
    assert deltas[0].degraded == ("the model's service takes no tools: answered without them",)


async def test_a_call_that_could_not_be_one_goes_back_in_a_form_that_services_take(azure: AzureOpenAIEmulator, make: MakeModel) -> None:
    odd = tuple(
        ToolCall(f"c{place}", name, arguments) for place, (name, arguments) in enumerate([("functions.s\x00", "["), ("", "[1]"), ("x" * 99, '{"a": 1}')])
    )
    await collect_all(make(), [Message("user", QUESTION), Message("assistant", "", odd)])
    sent = [call["function"] for call in azure.requests[-1].body["messages"][-1]["tool_calls"]]
    assert [(call["name"], call["arguments"]) for call in sent] == [("functions_s_", "{}"), ("_", "{}"), ("x" * 64, '{"a": 1}')]


async def collect_all(model: OpenAIChatModel, messages: list[Message]) -> list[ChatDelta]:
    return [delta async for delta in model.stream(messages)]
