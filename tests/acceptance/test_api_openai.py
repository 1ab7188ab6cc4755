"""The official client of OpenAI's API against a running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from src.api.auth import dump_tokens, hash_token
from src.core.identity import Identity

QUESTION = "How quickly must an uncontrolled gas escape be attended?"
FOLLOW_UP = "And how quickly a controlled one?"


def client_of(url: str, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def client(handbook_server: Any) -> Iterator[openai.OpenAI]:
    with client_of(handbook_server.url) as client:
        yield client


@pytest.fixture(scope="module")
def plain(handbook_server: Any) -> Iterator[httpx2.Client]:
    with handbook_server.client() as client:
        yield client


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def test_a_completion_cites_its_sources_in_the_text_and_beside_it(client: openai.OpenAI, plain: httpx2.Client) -> None:
    threads = len(plain.get("/v1/threads?limit=200").json()["threads"])
    answer = client.chat.completions.create(model="rag", messages=[user(QUESTION)])
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    text, _, sources = (choice.message.content or "").partition("\n\nSources:\n")
    assert "one hour" in text
    rag = (answer.model_extra or {})["rag"]
    for citation, line in zip(rag["citations"], sources.splitlines(), strict=True):
        assert f"[{citation['n']}]" in text
        assert line.startswith(f"[{citation['n']}] {citation['title']}")
    assert not rag["refused"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert min(answer.usage.prompt_tokens, answer.usage.completion_tokens) > 5
    assert answer._request_id
    same = plain.post("/v1/chat", json={"message": QUESTION}).json()
    assert text == same["answer"]
    assert len(plain.get("/v1/threads?limit=200").json()["threads"]) == min(threads + 1, 200)  # that of /v1/chat alone


def test_a_streamed_completion_is_the_same_in_chunks(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="rag", messages=[user(QUESTION)])
    stream = client.chat.completions.create(model="rag", messages=[user(QUESTION)], stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text or "" for text in texts) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert (chunks[-2].model_extra or {})["rag"]["citations"] == (whole.model_extra or {})["rag"]["citations"]
    assert {chunk.usage for chunk in chunks[:-1]} == {None}


async def test_the_asynchronous_client_streams_too(handbook_server: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{handbook_server.url}/v1", api_key="unused") as client:
        stream = await client.chat.completions.create(model="rag", messages=[user(QUESTION)], stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "one hour" in text


def test_the_messages_before_are_the_history(client: openai.OpenAI, plain: httpx2.Client) -> None:
    first = client.chat.completions.create(model="rag", messages=[user(QUESTION)])
    before: list[Any] = [{"role": "system", "content": "Be brief."}, user(QUESTION), {"role": "assistant", "content": first.choices[0].message.content}]
    answer = client.chat.completions.create(model="rag", messages=[*before, user(FOLLOW_UP)], temperature=0)
    thread = plain.post("/v1/chat", json={"message": QUESTION}).json()["thread_id"]
    expected = plain.post("/v1/chat", json={"message": FOLLOW_UP, "thread_id": thread}).json()
    assert (answer.choices[0].message.content or "").partition("\n\nSources:\n")[0] == expected["answer"]
    assert (answer.model_extra or {})["rag"]["not_applied"] == ["temperature", "messages of the role system"]


def test_an_answer_that_is_not_in_the_documents_is_refused_without_sources(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="rag", messages=[user("Who won the 1998 football world cup?")])
    assert (answer.model_extra or {})["rag"]["refused"]
    assert "Sources:" not in (answer.choices[0].message.content or "")


def test_an_answer_longer_than_it_may_be_ends_after_a_whole_sentence(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="rag", messages=[user(QUESTION)], max_completion_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == ""
    assert (answer.model_extra or {})["rag"]["citations"] == []


def test_our_own_options_narrow_the_search(client: openai.OpenAI) -> None:
    options = {"rag": {"mode": "bm25", "filters": {"content_type": "text/markdown"}, "sources": False}}
    answer = client.chat.completions.create(model="rag", messages=[user(QUESTION)], extra_body=options)
    assert "Sources:" not in (answer.choices[0].message.content or "")
    assert all(not item["source"].endswith(".pdf") for item in (answer.model_extra or {})["rag"]["citations"])


def test_models_are_listed_and_found_by_name(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "rag"
    for name in names:
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-nobody")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_embeddings_are_the_same_packed_and_plain(client: openai.OpenAI) -> None:
    texts = ["gas escape", "annual leave", "gas leak"]
    packed = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    floats = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts, encoding_format="float", dimensions=384)
    assert [entry.index for entry in packed.data] == [0, 1, 2]
    for one, other in zip(packed.data, floats.data, strict=True):
        assert len(one.embedding) == 384
        assert one.embedding == pytest.approx(other.embedding, abs=1e-7)
    first, second, third = (entry.embedding for entry in packed.data)
    assert sum(a * b for a, b in zip(first, third, strict=True)) > sum(a * b for a, b in zip(first, second, strict=True)) + 0.2
    assert packed.usage.prompt_tokens == packed.usage.total_tokens >= 6


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"dimensions": 256}, "dimensions"),
        ({"input": ""}, "input.0"),
        ({"input": []}, "input"),
        ({"input": [[1, 2, 3]]}, "input.0"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": "word " * 300}, "input.0"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_embeddings_that_cannot_be_made_are_refused_by_name(client: openai.OpenAI, more: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**{"model": "all-MiniLM-L6-v2", "input": "x", **more})
    assert caught.value.param == param


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, plain: httpx2.Client) -> None:
    with pytest.raises(openai.BadRequestError) as tools:
        client.chat.completions.create(model="rag", messages=[user("x")], tools=[{"type": "function", "function": {"name": "f"}}])
    assert (tools.value.code, tools.value.param, tools.value.type) == ("unsupported_parameter", "tools", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as model:
        client.chat.completions.create(model="gpt-nobody", messages=[user("x")], stream=True)
    assert model.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as unknown:
        client.chat.completions.create(model="rag", messages=[user("x")], extra_body={"temprature": 1})
    assert "temperature" in unknown.value.message
    with pytest.raises(openai.BadRequestError) as filters:
        client.chat.completions.create(model="rag", messages=[user("x")], extra_body={"rag": {"filters": {"nothing": {"like": 1}}}})
    assert filters.value.code == "bad_filter"
    headers = {"content-type": "application/json"}
    for response, status in (
        (plain.post("/v1/chat/completions", content=b"{", headers=headers), 400),
        (plain.post("/v1/embeddings", content=b" " * 1_000_001, headers=headers), 413),
        (plain.get("/v1/chat/completions"), 405),
        (plain.post("/v1/chat/completions/nothing"), 404),
    ):
        assert response.status_code == status
        assert set(response.json()) == {"error"}
        assert response.json()["error"]["message"]
        assert response.headers["content-type"] == "application/json"


def test_a_failure_after_the_first_chunk_is_raised_by_the_client(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="rag", messages=[user("x" * 10_001)], stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "bad_input"


def test_callers_are_known_by_their_key_and_find_their_own_documents_alone(serve: Callable[..., Any], tmp_path: Path) -> None:
    tokens = {"anne-key": Identity("anne"), "bob-key": Identity("bob")}
    path = tmp_path / "tokens.json"
    path.write_text(dump_tokens({hash_token(token): who for token, who in tokens.items()}), encoding="utf-8")
    question = [user("Where is the muster point of the Leeds depot?")]
    with serve(tmp_path, {"auth": "tokens", "tokens_file": path}) as server:
        with server.client(headers={"Authorization": "Bearer anne-key"}) as plain:
            done = plain.post("/v1/documents", files={"files": ("muster.txt", b"The muster point of the Leeds depot is the north gate.")})
            assert done.status_code == 201, done.text
        with client_of(server.url, "anne-key") as anne, client_of(server.url, "bob-key") as bob, client_of(server.url, "nobody") as nobody:
            assert "north gate" in json.dumps(anne.chat.completions.create(model="rag", messages=question).to_dict())
            theirs = bob.chat.completions.create(model="rag", messages=question)
            streamed = list(bob.chat.completions.create(model="rag", messages=question, stream=True))
            assert (theirs.model_extra or {})["rag"]["refused"]
            assert "north gate" not in json.dumps([theirs.to_dict(), *[chunk.to_dict() for chunk in streamed]])
            for call in (
                lambda: nobody.chat.completions.create(model="rag", messages=question),
                nobody.models.list,
                lambda: nobody.embeddings.create(model="all-MiniLM-L6-v2", input="x"),
            ):
                with pytest.raises(openai.AuthenticationError) as caught:
                    call()
                assert caught.value.code == "invalid_api_key"
