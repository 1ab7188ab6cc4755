"""A client's messages as a question with its history, and citations as text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.api.openai.bodies import ChatMessage, CompletionBody, check_supported, not_applied
from src.api.openai.conversation import read, sources_text, without_sources
from src.api.openai.shapes import ParameterError, error_of, is_openai_path
from src.core.chat import Citation


def said(*pairs: tuple[str, Any]) -> list[ChatMessage]:
    return [ChatMessage.model_validate({"role": role, "content": content}) for role, content in pairs]


def citation(n: int, title: str = "T", section: str = "") -> Citation:
    return Citation(n=n, chunk_id="c", document_id="d", title=title, source="s.pdf", quote="q", score=1.0, page=3, section=section)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=6), st.text(min_size=1))
def test_turns_keep_their_order_and_the_last_message_is_the_question(turns: list[tuple[str, str]], last: str) -> None:
    turns = [(question, without_sources(answer)) for question, answer in turns]
    found = read(said(*[pair for question, answer in turns for pair in (("user", question), ("assistant", answer))], ("user", last)))
    assert found.question == last
    assert [(turn.question, turn.answer) for turn in found.history] == turns
    assert not found.instructed


@given(st.text(), st.lists(st.text(), min_size=1, max_size=4))
def test_an_answer_that_comes_back_has_lost_its_sources(answer: str, titles: list[str]) -> None:
    bare = without_sources(answer)
    listed = sources_text([citation(n, title, title) for n, title in enumerate(titles, 1)])
    assert without_sources(bare + listed) == bare
    assert len(listed.strip().split("\n")) == len(titles) + 1


def test_a_title_becomes_no_link_and_no_tag() -> None:
    listed = sources_text([citation(1, "![x](http://evil/p.png) <img src=x>")])
    assert "](" not in listed
    assert "<img" not in listed
    assert "[1] " in listed
    assert "page 3 (s.pdf)" in listed


def test_several_messages_of_one_side_are_one_and_a_greeting_has_no_question() -> None:
    found = read(said(("system", "Be brief."), ("assistant", "Hello."), ("user", "One"), ("user", [{"type": "text", "text": "two"}])))
    assert found.question == "One\n\ntwo"
    assert [(turn.question, turn.answer) for turn in found.history] == [("", "Hello.")]
    assert found.instructed


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (said(("user", "x"), ("assistant", "y")), "messages"),
        (said(("system", "x")), "messages"),
        (said(("user", [{"type": "image_url", "image_url": {"url": "data:"}}])), "messages.0.content.0"),
        (said(("user", [{"text": "no type"}])), "messages.0.content.0"),
        ([*said(("user", "x")), ChatMessage(role="tool", content="y", tool_call_id="1")], "messages.1"),
        ([ChatMessage(role="assistant", tool_calls=[{"id": "1"}]), *said(("user", "x"))], "messages.0"),
    ],
)
def test_what_cannot_be_read_is_named(messages: list[ChatMessage], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read(messages)
    assert caught.value.param == param


def body(**more: Any) -> CompletionBody:
    return CompletionBody.model_validate({"model": "rag", "messages": [{"role": "user", "content": "x"}], **more})


UNSUPPORTED: list[tuple[str, Any]] = [
    ("tools", [{"type": "function"}]),
    ("functions", [{"name": "f"}]),
    ("tool_choice", "required"),
    ("function_call", {"name": "f"}),
    ("n", 2),
    ("n", 0),
    ("logprobs", True),
    ("top_logprobs", 3),
    ("response_format", {"type": "json_object"}),
    ("modalities", ["audio"]),
    ("stop", ["x"]),
    ("logit_bias", {"50256": -100}),
    ("web_search_options", {"a": 1}),
]


@pytest.mark.parametrize(("name", "value"), UNSUPPORTED)
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        check_supported(body(**{name: value}))
    assert caught.value.param == name


def test_what_asks_for_nothing_more_than_there_is_is_taken() -> None:
    taken = body(
        n=1, logprobs=False, response_format={"type": "text"}, modalities=["text"], tool_choice="auto", tools=[], stop=None, user="u", metadata={}, store=False
    )
    check_supported(taken)
    assert not_applied(taken) == ()
    assert not_applied(body(temperature=0.2, seed=1)) == ("temperature", "seed")


@pytest.mark.parametrize(("path", "theirs"), [("/v1/chat/completions", True), ("/v1/models/a/b", True), ("/v1/modelsx", False), ("/v1/chat", False)])
def test_only_their_paths_get_their_errors(path: str, theirs: bool) -> None:
    assert is_openai_path(path) is theirs


def test_a_field_that_is_wrong_is_a_400_with_its_name() -> None:
    problem = {"status": 422, "code": "invalid", "title": "Invalid", "detail": "x.", "hint": "y.", "errors": [{"pointer": "#/messages/0/role"}]}
    status, shaped = error_of(problem)
    assert status == 400
    assert shaped["error"] == {"message": "x. y.", "type": "invalid_request_error", "param": "messages.0.role", "code": "invalid", "correlation_id": None}
    assert error_of({"status": 503, "code": "unavailable", "title": "Unavailable"})[1]["error"]["type"] == "server_error"
