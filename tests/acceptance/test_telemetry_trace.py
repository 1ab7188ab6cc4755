"""One chat as a caller sends it, over HTTP through graph, embedding and model: one connected trace at the collector, and no word of its content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.conftest import rag, serving
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator
from tests.emulators.collector import Collector, attributes_of
from tests.emulators.quoting import QuotingModel

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
QUESTION = "How long must a Quagganaut rest after a Zibeline shift?"
TEXT = "# Resting\n\nA Quagganaut must rest eleven hours after a Zibeline shift in the Obfuscatory wing.\n"
CANARIES = ("quagganaut", "zibeline", "obfuscatory", "eleven hours", KEY.lower(), "collector-key", "resting")
"""Of question, document and answer, and two secrets."""


@dataclass
class Seen:
    collector: Collector
    azure: AzureOpenAIEmulator
    answer: dict[str, Any]
    found: dict[str, Any]
    log: str
    files: dict[str, str]
    """Of the log."""
    figures: str
    """What `/metrics` showed."""

    @property
    def spans(self) -> list[Any]:
        return [span for span in self.collector.spans if span.trace_id.hex() == TRACE]

    def named(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span


def configuration(folder: Path, collector: Collector, azure: AzureOpenAIEmulator) -> str:
    model = f"provider = azure\napi_base = {azure.url}\napi_version = 2024-06-01\napi_key = {KEY}\n"
    return (
        f"[telemetry]\nenabled = true\nendpoint = {collector.url}\nheaders = authorization=Bearer%20collector-key\n"
        "metrics_interval_s = 3600\nflush_timeout_s = 20\nprices = gpt-4=30/60, text-embedding-ada-002=0.1\n"
        f"[logging]\nlevel = DEBUG\nlevels = root=DEBUG\nstructured = true\nfolder = {folder}/logs\n"
        f"[network]\nca_bundle = {azure.ca_file}\n[chat]\n{model}model = gpt-4\n[embed]\n{model}model = text-embedding-ada-002\ndims = 64\ncache_entries = 0\n"
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "note.md").write_text(TEXT, encoding="utf-8")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "baggage": "who=Quagganaut", "X-Request-ID": "call-7"}
    azure = AzureOpenAIEmulator(folder, dims=64, ca=authority, model=QuotingModel())
    with Collector(authority).running() as collector, azure.running():
        with serving(folder, more=configuration(folder, collector, azure)) as server:
            done = rag("ingest", folder / "note.md", "--config", folder / "config.ini", cwd=folder)
            assert done.returncode == 0, done.stderr
            azure.requests.clear()
            with server.client(headers=headers) as client:
                answer = client.post("/v1/chat", json={"message": QUESTION})
                assert answer.status_code == 200, answer.text
                found = client.post("/v1/search", json={"query": QUESTION})
                assert client.post("/v1/search", json={"query": QUESTION, "cursor": QUESTION}).status_code >= 400
                figures = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
        files = {path.name: path.read_text() for path in sorted((folder / "logs").iterdir())}
        yield Seen(collector, azure, answer.json(), found.json(), server.log() + done.stderr, files, figures)


def test_one_request_is_one_trace_from_the_caller_to_the_model(seen: Seen) -> None:
    assert "eleven hours" in seen.answer["answer"]
    spans = {span.span_id: span for span in seen.spans}
    orphans = [span.name for span in spans.values() if span.parent_span_id not in spans and span.parent_span_id.hex() != CALLER]
    assert orphans == []
    server = seen.named("POST /v1/chat")
    assert (server.parent_span_id.hex(), server.kind) == (CALLER, 2)
    assert seen.named("rag.chat").parent_span_id == server.span_id
    names = {span.name for span in within(server, seen.spans)}
    stages = {"rag.chat", "rag.retrieve", "rag.embed", "rag.search", "rag.search.bm25", "rag.search.knn", "rag.search.fusion", "rag.context", "rag.generate"}
    assert stages | {"rag.verify", "rag.persist", "chat gpt-4", "embeddings text-embedding-ada-002"} <= names


def within(parent: Any, spans: list[Any]) -> list[Any]:
    children = [span for span in spans if span.parent_span_id == parent.span_id]
    return [*children, *(deeper for child in children for deeper in within(child, spans))]


def test_the_parts_of_a_chat_lie_within_it_and_one_another(seen: Seen) -> None:
    for parent in seen.spans:
        for child in (span for span in seen.spans if span.parent_span_id == parent.span_id):
            # What is timed by other means is placed in retrospect, on the wall's clock.
            assert child.start_time_unix_nano >= parent.start_time_unix_nano - 2_000_000, (parent.name, child.name)
            assert child.end_time_unix_nano <= parent.end_time_unix_nano + 2_000_000, (parent.name, child.name)


def test_calls_and_requests_speak_the_conventions(seen: Seen) -> None:
    call = attributes_of(seen.named("chat gpt-4").attributes)
    assert (
        call.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.request.model": "gpt-4",
            "gen_ai.request.stream": True,
            "gen_ai.response.finish_reasons": "stop",
            "server.address": "localhost",
            "server.port": seen.azure.port,
        }.items()
    )
    assert call["gen_ai.usage.input_tokens"] > 0
    assert call["gen_ai.response.time_to_first_chunk"] > 0
    request = attributes_of(seen.named("POST /v1/chat").attributes)
    assert request == {
        "http.request.method": "POST",
        "http.route": "/v1/chat",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "rag.correlation_id": "call-7",
    }
    metrics = seen.collector.metrics
    assert {"http.server.request.duration", "gen_ai.client.operation.duration", "gen_ai.client.token.usage", "rag.stage.duration"} <= set(metrics)
    routes = {attributes_of(point.attributes).get("http.route") for point in metrics["http.server.request.duration"].histogram.data_points}
    assert {"/v1/chat", "/v1/search"} <= routes


def test_the_trace_and_the_correlation_id_go_on_to_the_model_and_baggage_does_not(seen: Seen) -> None:
    ids = {span.span_id.hex() for span in seen.spans}
    assert seen.azure.requests
    for request in seen.azure.requests:
        version, trace, span, flags = request.headers["traceparent"].split("-")
        assert (version, trace, flags[-1], span in ids) == ("00", TRACE, "1", True)
        assert request.headers["x-request-id"] == "call-7"
        assert "baggage" not in request.headers


def test_ingestion_is_traced_by_its_stages(seen: Seen) -> None:
    names = {span.name for span in seen.collector.spans}
    assert {"rag.ingest", "rag.ingest.load", "rag.ingest.chunk", "rag.ingest.embed", "rag.ingest.write"} <= names


def test_no_export_holds_a_word_of_question_document_answer_or_secret(seen: Seen) -> None:
    assert {path for path, _, _ in seen.collector.received} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
    assert all(headers["authorization"] == "Bearer collector-key" for _, headers, _ in seen.collector.received)
    for body in seen.collector.bodies:
        text = body.decode("utf-8", "replace").lower()
        assert [canary for canary in CANARIES if canary in text] == []


def test_no_log_line_holds_one_at_debug_of_every_library(seen: Seen) -> None:
    lines = [json.loads(line) for text in seen.files.values() for line in text.splitlines()]
    assert {line["logger"].partition(".")[0] for line in lines} >= {"src", "openai", "httpcore2", "urllib3"}, "they did say something"
    for text in (seen.log, *seen.files.values()):
        assert [canary for canary in CANARIES if canary in text.lower()] == []
    assert any(line.get("trace_id") == TRACE and line["correlation_id"] == "call-7" for line in lines)


def test_the_access_log_has_a_file_of_its_own_with_a_line_a_request(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.files["api.log"].splitlines()]
    asked = [(line["method"], line["path"], line["status"] // 100) for line in lines if line["path"].startswith("/v1/")]
    assert asked == [("POST", "/v1/chat", 2), ("POST", "/v1/search", 2), ("POST", "/v1/search", 4)]
    assert {line["logger"] for line in lines} == {"src.api.access"}
    assert {(line.get("tenant"), len(line.get("user", ""))) for line in lines if line["path"].startswith("/v1/")} == {("default", 16)}
    assert "src.api.access" not in seen.files["app.log"]


def test_figures_name_the_trace_and_what_it_cost(seen: Seen) -> None:
    lines = seen.figures.splitlines()
    turns = [line for line in lines if line.startswith("rag_stage_duration_seconds_bucket{") and 'rag_stage="chat"' in line and " # " in line]
    assert [f'trace_id="{TRACE}"' in line for line in turns] == [True]
    assert any(f'trace_id="{TRACE}"' in line for line in lines if line.startswith("http_server_request_duration_seconds_bucket"))
    cost = {line.split("{")[1].split("}")[0]: float(line.split("} ")[1].split(" ")[0]) for line in lines if line.startswith("rag_cost_total{")}
    tokens = {line.split("{")[1].split("}")[0]: float(line.split("} ")[1]) for line in lines if line.startswith("gen_ai_client_token_usage_sum{")}
    for model, kind, price in (("gpt-4", "input", 30), ("gpt-4", "output", 60), ("text-embedding-ada-002", "input", 0.1)):
        (counted,) = [n for labels, n in tokens.items() if f'model="{model}"' in labels and f'type="{kind}"' in labels]
        assert cost[f'gen_ai_request_model="{model}",gen_ai_token_type="{kind}"'] == pytest.approx(counted * price / 1e6)
    assert not [word for word in CANARIES if word in seen.figures.lower()]


def test_the_collector_gets_the_same_figures_also_those_that_are_watched(seen: Seen) -> None:
    assert {"rag.stage.duration", "rag.answers", "rag.cost", "gen_ai.client.token.usage", "rag.chats.active", "rag.build.info"} <= set(seen.collector.metrics)
