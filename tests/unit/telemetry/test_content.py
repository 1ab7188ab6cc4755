from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from src.core.chat import Message
from src.infra.capturing import FILE, set_up_privacy
from src.infra.config import Settings
from src.infra.exporting.privacy import with_redacted_content, without_content
from src.infra.settings import load_settings
from src.telemetry import content, sdk
from src.telemetry.calls import chat_call, chat_stream
from src.telemetry.content import MAX_MESSAGES, capture

QUESTION, ANSWER, CARD = "what does the canary cost", "the canary costs little", "4111 1111 1111 1111"


@dataclass
class Piece:
    text: str = ""
    content: str = ""
    finish_reason: str | None = None


class Model:
    model = "gpt-test"

    @chat_call
    async def generate(self, messages: list[Message] | str) -> Piece:
        return Piece(content=f"{ANSWER} {CARD}")

    @chat_stream
    async def stream(self, messages: list[Message] | str) -> AsyncIterator[Piece]:
        for text in (ANSWER, " 4111 1111", " 1111 1111"):
            yield Piece(text)


def settings(folder: Path, **telemetry: object) -> Settings:
    return load_settings(overrides={"storage.path": str(folder), **{f"telemetry.{key}": value for key, value in telemetry.items()}})


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path) -> Iterator[None]:
    yield
    set_up_privacy(settings(tmp_path))


async def talk() -> None:
    model = Model()
    await model.generate([Message("system", "be kind"), Message("user", f"{QUESTION}, pay with {CARD}")])
    assert [piece.text async for piece in model.stream(f"{QUESTION}?")]
    capture("turn", QUESTION, f"{ANSWER} {CARD}", thread_id="t1")


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


async def test_content_is_kept_nowhere_unless_it_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    set_up_privacy(settings(tmp_path))
    await talk()
    assert list(tmp_path.rglob("*")) == []
    assert "canary" not in caplog.text


async def test_in_a_file_it_is_kept_redacted_private_and_there_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(sys, "stderr", error := io.StringIO())
    set_up_privacy(settings(tmp_path, capture_content=True))
    await talk()
    whole, streamed, turn = lines_of(tmp_path)
    assert whole["input"] == [{"role": "system", "content": "be kind"}, {"role": "user", "content": f"{QUESTION}, pay with [redacted:card]"}]
    assert whole["output"] == streamed["output"] == turn["output"] == f"{ANSWER} [redacted:card]", "also where it came in pieces"
    assert (whole["message"], whole["model"], turn["message"], turn["thread_id"]) == ("model call", "gpt-test", "turn", "t1")
    assert CARD not in (tmp_path / FILE).read_text()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert "canary" not in caplog.text + error.getvalue()


async def test_in_traces_it_is_kept_redacted_in_the_names_of_the_conventions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "set_up", lambda: True)  # the provider is this test's own, not the process's
    set_up_privacy(settings(tmp_path, capture_content=True, content_to="traces"))
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("turn"):
        capture("turn", f"{QUESTION} {CARD}", ANSWER)
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    said = json.loads(str(span.attributes["gen_ai.input.messages"]))
    assert said == [{"role": "user", "parts": [{"type": "text", "content": f"{QUESTION} [redacted:card]"}]}]
    assert json.loads(str(span.attributes["gen_ai.output.messages"]))[0]["role"] == "assistant"
    assert list(tmp_path.rglob("*")) == []


def test_long_conversations_keep_their_newest_messages() -> None:
    found = content._as_attribute([{"role": "user", "content": f"{number} " + "x" * 5_000} for number in range(40)])
    assert len(found) <= MAX_MESSAGES
    assert json.loads(found)[-1]["parts"][0]["content"].startswith("39 ")


def test_spans_of_other_libraries_lose_their_content_or_have_it_redacted() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("openinference").start_as_current_span("call") as span:
        span.set_attributes({"input.value": f"{QUESTION} {CARD}", "n": 4111111111111111, "tags": [CARD, "b"], "password": "hunter2"})
        span.add_event("exception", {"exception.message": f"refused {CARD}"})
    (made,) = exporter.get_finished_spans()
    bare, kept = without_content(made), with_redacted_content(made)
    assert bare.attributes is not None
    assert kept.attributes is not None
    assert "input.value" not in bare.attributes
    assert kept.attributes["input.value"] == f"{QUESTION} [redacted:card]"
    assert (kept.attributes["n"], kept.attributes["password"]) == (4111111111111111, "[redacted:secret]")
    assert CARD not in kept.to_json()
    assert (kept.context, kept.name, kept.start_time) == (made.context, made.name, made.start_time)
