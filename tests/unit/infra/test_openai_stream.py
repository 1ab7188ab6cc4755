"""Server-sent events of a model, read from bytes that are cut anywhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.chat import Usage
from src.errors import ContentFilteredError, ForeignServiceError, StreamInterruptedError
from src.infra.config import ChatCfg
from src.infra.providers.openai_errors import ErrorMap
from src.infra.providers.openai_stream import EventData, Reading, texts_of

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8)
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    st.lists(st.tuples(st.sampled_from(["data:", "data: ", ":", "event: ", "id: ", ""]), words), max_size=12),
    line_ends,
    st.lists(st.integers(0, 400), max_size=8),
)
def test_events_are_the_same_wherever_their_bytes_are_cut(lines: list[tuple[str, str]], end: str, cuts: list[int]) -> None:
    wire = "".join(f"{name}{text}{end}" if name else end for name, text in lines).encode()
    expected: list[bytes] = []
    data: list[str] = []
    for name, text in lines:
        if name.startswith("data:"):
            data.append(text.removeprefix(" ") if name == "data:" else text)
        elif not name:
            expected += ["\n".join(data).encode()] if "\n".join(data) else []
            data = []
    events = EventData()
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    found = [event for begin, stop in pairwise(edges) for event in events.feed(wire[begin:stop])]
    assert found == expected


def reading() -> Reading:
    return Reading(ErrorMap("chat", ChatCfg(provider="openai", model="m", api_base="https://model.example")))


def wire(*events: Any) -> bytes:
    return b"".join(b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n" for event in events)


def token(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def test_what_came_together_is_read_together() -> None:
    found = reading()
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert found.nothing
    assert (
        found.feed(wire({"choices": []}, token("One "), token("two."), end, {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}))
        == "One two."
    )
    assert not found.done
    assert found.feed(wire(b"[DONE]")) == ""
    assert found.done
    assert not found.nothing
    assert (found.last().finish_reason, found.last().usage) == ("stop", Usage(3, 2))


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_that_comes_packed_is_the_same(packed: bool) -> None:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = wire(token("One "), token("two."), end, b"[DONE]")
    data = gzip.compress(body) if packed else body

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    response = httpx2.Response(200, headers={"content-encoding": "gzip"} if packed else {}, content=pieces())
    errors = ErrorMap("chat", ChatCfg(provider="openai", model="m", api_base="https://model.example"))
    found = Reading(errors)
    assert "".join([text async for text in texts_of(response, found, errors)]) == "One two."
    assert (found.finish, found.done) == ("stop", True)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"code": "content_filter", "message": "secret"}}, ContentFilteredError),
        ({"error": {"message": "secret"}}, StreamInterruptedError),
        ({"error": "secret"}, StreamInterruptedError),
        (b"{secret", StreamInterruptedError),
        (b"\xff", StreamInterruptedError),
        ({"choices": "secret"}, ForeignServiceError),
        ([], ForeignServiceError),
        (b"[" * 100_000, ForeignServiceError),
    ],
)
def test_what_is_wrong_with_an_event_is_told_behind_the_text_before_it(event: Any, kind: type[Exception]) -> None:
    found = reading()
    assert found.feed(wire(token("One."), event, token("Two."))) == "One."
    assert type(found.failure) is kind
    assert "secret" not in str(found.failure)
