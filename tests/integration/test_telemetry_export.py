"""`setup_telemetry` against a collector over TLS that decodes what comes: what is exported, where to, and what a collector that fails costs."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
import trustme

from src.core.identity import Identity, current_identity
from src.errors import ConfigurationError
from src.infra import telemetry
from src.infra.network import NetworkPolicy
from src.infra.search.opensearch.wire.transport import Transport
from src.infra.telemetry import (
    flush_telemetry,
    get_metrics,
    record_embedding,
    record_query,
    record_query_duration,
    setup_telemetry,
    shutdown_telemetry,
    trace_function,
)
from src.telemetry import metrics
from src.telemetry.logger import get_logger
from src.telemetry.otel import set_correlation_id
from src.telemetry.stages import record_stage, stage
from tests.emulators.collector import Collector, attributes_of
from tests.emulators.proxy import Proxy
from tests.emulators.service import Service
from tests.integration.telemetry_parts import authority, collector, fresh_sdk, settings_for

__all__ = ["authority", "collector", "fresh_sdk"]
pytestmark = pytest.mark.usefixtures("fresh_sdk")


def test_spans_metrics_and_logs_arrive_under_one_service(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    settings = settings_for(authority, tmp_path, telemetry__resource=["service.namespace=hr"], telemetry__headers="authorization=Bearer%20K%2C1,x-team=search")
    assert setup_telemetry("utilities-assistant", collector.url, settings=settings)
    with stage("search", mode="hybrid"), stage("search.knn"):
        get_logger("src.tests").warning("cut short", stage="search", ms=12)
    with pytest.raises(ConfigurationError), stage("embed"):
        raise ConfigurationError("in the text of an error: 4111 1111 1111 1111")
    record_stage("persist", 20.0)
    get_metrics().record_latency("search.duration", 12.5, mode="hybrid")
    get_metrics().count("search.degraded", 2)
    get_metrics().gauge("index.chunks", 7)
    record_query("bm25")
    record_query_duration(30.0)
    record_embedding(3, 4.5, "minilm")
    shutdown_telemetry()

    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"rag.search", "rag.search.knn", "rag.embed", "rag.persist"}
    assert spans["rag.search.knn"].parent_span_id == spans["rag.search"].span_id
    assert attributes_of(spans["rag.search"].attributes) == {"rag.mode": "hybrid"}
    assert attributes_of(spans["rag.embed"].attributes)["error.type"] == "configuration"
    assert spans["rag.embed"].status.code == 2
    assert spans["rag.persist"].end_time_unix_nano - spans["rag.persist"].start_time_unix_nano == 20_000_000
    resource = collector.resource()
    assert (resource["service.name"], resource["service.namespace"]) == ("utilities-assistant", "hr")
    assert {"service.version", "service.instance.id", "deployment.environment.name", "telemetry.sdk.language"} <= set(resource)
    metrics = collector.metrics
    stages = {attributes_of(point.attributes)["rag.stage"]: point for point in metrics["rag.stage.duration"].histogram.data_points}
    assert set(stages) == {"search", "search.knn", "embed", "persist"}
    assert stages["persist"].sum == pytest.approx(0.02)
    assert metrics["rag.search.degraded"].sum.data_points[0].as_double == 2 or metrics["rag.search.degraded"].sum.data_points[0].as_int == 2
    assert {"rag.search.duration", "rag.index.chunks", "rag.queries", "rag.query.duration", "rag.embedded_texts", "rag.embedding.duration"} <= set(metrics)
    (record,) = [found for found in collector.records if found.body.string_value == "cut short"]
    assert record.trace_id == spans["rag.search"].trace_id
    assert (attributes_of(record.attributes)["rag.ms"], record.severity_text) == (12, "WARNING")
    for _, headers, _ in collector.received:
        assert (headers["authorization"], headers["x-team"]) == ("Bearer K,1", "search")
    assert all(b"4111 1111" not in body for body in collector.bodies)


@pytest.mark.usefixtures("fresh_sdk")
def test_cost_and_tenants_are_exported_as_configured_without_metrics_of_our_own(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    more = {"telemetry__metrics": False, "telemetry__prices": "m=2", "telemetry__metrics_tenants": 1}
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path, **more))
    for tenant in ("a", "b"):
        token = current_identity.set(Identity("u", tenant))
        metrics.count_cost("m", "input", 500_000)
        current_identity.reset(token)
    flush_telemetry()
    points = {attributes_of(point.attributes)["rag.tenant"]: point.as_double for point in collector.metrics["rag.cost"].sum.data_points}
    assert points == {"a": 1.0, "_other": 1.0}


def test_variables_of_other_programs_change_neither_place_nor_headers(
    collector: Collector, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector(authority).running() as elsewhere:
        for name, value in {
            "OTEL_EXPORTER_OTLP_ENDPOINT": elsewhere.url,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{elsewhere.url}/v1/traces",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-another",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "none.pem"),
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(tmp_path / "none.pem"),
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=another,team=x",
            "OTEL_SERVICE_NAME": "another",
            "OTEL_TRACES_SAMPLER": "always_off",
            "OTEL_BSP_MAX_QUEUE_SIZE": "1",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0",
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "nobody",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "REQUESTS_CA_BUNDLE": str(tmp_path / "none.pem"),
        }.items():
            monkeypatch.setenv(name, value)
        assert setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
        with stage("embed"):
            get_metrics().count("x")
        shutdown_telemetry()
        assert elsewhere.requests == 0
    assert [span.name for span in collector.spans] == ["rag.embed"]
    assert attributes_of(collector.spans[0].attributes) == {}
    assert collector.resource()["service.name"] == "founders-rag"
    assert "team" not in collector.resource()
    assert all("authorization" not in headers for _, headers, _ in collector.received)


def test_a_disabled_sdk_exports_nothing(collector: Collector, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
    with stage("embed"):
        get_metrics().count("x")
        get_logger("src.tests").warning("hello")
    shutdown_telemetry()
    assert (collector.spans, collector.metrics, collector.records) == ([], {}, [])


def test_ten_thousand_tenants_are_two_hundred_and_one_series_at_the_collector(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path, telemetry__queue_size=20_000))
    for number in range(10_000):
        get_metrics().count("asked", tenant=f"t{number}")
    shutdown_telemetry(20.0)
    points = collector.metrics["rag.asked"].sum.data_points
    assert len(points) == 201
    assert sum(point.as_double or point.as_int for point in points) == 10_000


def test_exports_go_through_the_proxy_with_its_credentials(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    with Collector(authority, "otel.company.test").running() as behind, Proxy("u", "p:w", {"otel.company.test:4318": behind.port}).running() as proxy:
        network = {"network__proxy": f"http://127.0.0.1:{proxy.port}", "network__proxy_username": "u", "network__proxy_password": "p:w"}
        setup_telemetry(endpoint="https://otel.company.test:4318", settings=settings_for(authority, tmp_path, **network))
        with stage("embed"):
            pass
        shutdown_telemetry()
        assert proxy.opened == ["otel.company.test:4318"] * len(proxy.opened)
        assert proxy.opened
        assert [span.name for span in behind.spans] == ["rag.embed"]


def test_a_collector_that_is_away_is_said_once_costs_no_time_and_is_welcomed_back(
    authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.infra.exporting import collector as way

    monkeypatch.setattr(way, "REPEATS_S", ())
    monkeypatch.setattr(way, "RESET_S", 0.0)
    with caplog.at_level(logging.DEBUG), Collector(authority).running() as collector:
        collector.way = "close"
        setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
        for _ in range(4):
            with stage("embed"):
                pass
            flush_telemetry()
        collector.way = "answer"
        with stage("search"):
            pass
        flush_telemetry()
        shutdown_telemetry()
    assert [span.name for span in collector.spans] == ["rag.search"]
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in told] == ["telemetry is not exported"]
    fields = told[0].__dict__["rag_fields"]
    assert fields["setting"] == "telemetry.endpoint"
    assert f"https://localhost:{collector.port}" in fields["detail"]
    back = [record.__dict__["rag_fields"] for record in caplog.records if record.getMessage() == "the collector takes telemetry again"]
    assert [fields["dropped"] >= 4 for fields in back] == [True]


def test_a_certificate_that_is_not_trusted_is_told_with_its_setting(tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture) -> None:
    with Collector(trustme.CA()).running() as collector:
        setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
        with stage("embed"):
            pass
        shutdown_telemetry()
        assert collector.requests == 0
    (told,) = [record.__dict__["rag_fields"] for record in caplog.records if record.getMessage() == "telemetry is not exported"]
    assert told["setting"] == "network.ca_bundle"


def test_a_collector_for_traces_only_gets_no_more_of_the_rest(
    collector: Collector, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refused = {"/v1/metrics", "/v1/logs"}
    setup_telemetry(endpoint=f"{collector.url}/v1/traces", settings=settings_for(authority, tmp_path))
    for _ in range(3):
        with stage("embed"):
            get_logger("src.tests").warning("hello")
        get_metrics().count("x")
        flush_telemetry()
    shutdown_telemetry()
    assert len(collector.spans) == 3
    assert collector.requests == 3 + 2, "each refused signal was tried once"
    told = [record.__dict__["rag_fields"]["signal"] for record in caplog.records if record.getMessage().startswith("the collector does not take")]
    assert sorted(told) == ["logs", "metrics"]


@pytest.mark.timeout(25)  # the SDK would wait for 30 s, an export for 300
def test_a_silent_collector_holds_the_end_no_longer_than_its_deadline(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    collector.way = "silent"
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path, telemetry__flush_timeout_s=0.5, telemetry__timeout_s=300))
    with stage("embed"):
        get_metrics().count("x")
    shutdown_telemetry()
    assert collector.spans == []


def test_set_up_twice_is_set_up_once(collector: Collector, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(authority, tmp_path)
    assert setup_telemetry(endpoint=collector.url, settings=settings)
    first = telemetry._providers
    assert setup_telemetry(endpoint=collector.url, settings=settings)
    assert setup_telemetry(endpoint="https://elsewhere.test", settings=settings)
    assert telemetry._providers is first
    assert "for another collector" in caplog.text
    with stage("embed"):
        pass
    shutdown_telemetry()
    shutdown_telemetry()
    assert len(collector.spans) == 1


def test_an_sdk_that_is_there_already_is_left_alone(collector: Collector, authority: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    with caplog.at_level(logging.INFO, "src"):
        assert not setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
        assert not setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
    assert caplog.text.count("nothing is set up beside it") == 1
    with stage("embed"):
        pass
    assert [span.name for span in kept.get_finished_spans()] == ["rag.embed"]
    assert collector.requests == 0


def test_of_traces_outside_the_share_those_with_errors_and_slow_ones_are_exported_whole(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path, telemetry__sample_ratio=0.0, telemetry__slow_ms=50))
    with stage("quick"), stage("quick.part"):
        pass
    with stage("slow"), stage("slow.part"):
        time.sleep(0.06)
    with stage("broken"):
        with pytest.raises(KeyError), stage("broken.part"):
            raise KeyError
        with stage("broken.other"):
            pass
    shutdown_telemetry()
    assert sorted(span.name for span in collector.spans) == ["rag.broken", "rag.broken.other", "rag.broken.part", "rag.slow", "rag.slow.part"]
    providers = telemetry._providers
    assert providers is not None
    assert providers.tracer is not None


async def test_functions_of_users_are_spans_and_their_arguments_are_none(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    @trace_function
    def plain(text: str) -> str:
        return text

    @trace_function("prices.look_up", kind="batch")
    async def waiting(text: str) -> str:
        await asyncio.sleep(0)
        raise ValueError(text)

    assert plain("CANARY-off") == "CANARY-off"
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
    assert plain("CANARY-1") == "CANARY-1"
    with pytest.raises(ValueError, match="CANARY-2"):
        await waiting("CANARY-2")
    await asyncio.to_thread(shutdown_telemetry)
    spans = {span.name: attributes_of(span.attributes) for span in collector.spans}
    assert {name.rpartition(".")[2] for name in spans} == {"plain", "look_up"}
    assert spans["prices.look_up"] == {"rag.kind": "batch", "error.type": "ValueError"}
    assert all(b"CANARY" not in body for body in collector.bodies)
    with pytest.raises(TypeError, match="generator"):
        trace_function(lambda: (yield))


def test_texts_of_foreign_logs_and_exceptions_stay_here(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
    logging.getLogger("openai").warning("request: %s", "CANARY-prompt")
    logging.getLogger("openai").info("CANARY-quiet")
    try:
        raise ValueError("CANARY-answer")
    except ValueError:
        get_logger("src.tests").exception("failed")
    get_logger("src.tests").warning("long", text="x" * 10_000, **{f"f{n}": n for n in range(100)})
    shutdown_telemetry()
    bodies = {record.body.string_value: record for record in collector.records}
    assert set(bodies) == {"request: …", "failed", "long"}
    assert attributes_of(bodies["failed"].attributes)["exception.type"] == "ValueError"
    assert len(bodies["long"].attributes) < 50
    assert all(len(str(value)) <= 200 for value in attributes_of(bodies["long"].attributes).values())
    assert all(b"CANARY" not in body for body in collector.bodies)


def test_the_console_takes_the_place_of_a_collector(authority: trustme.CA, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_telemetry(settings=settings_for(authority, tmp_path, telemetry__exporter="console"))
    with stage("embed"):
        pass
    shutdown_telemetry()
    out = capsys.readouterr()
    assert out.out == ""
    assert '"name": "rag.embed"' in out.err


def test_what_cannot_be_exported_to_is_told_at_once(authority: trustme.CA, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"telemetry\.endpoint"):
        setup_telemetry(settings=settings_for(authority, tmp_path))
    with pytest.raises(ConfigurationError, match="is no address"):
        setup_telemetry(endpoint="udp://localhost:4317", settings=settings_for(authority, tmp_path))
    with pytest.raises(ConfigurationError, match=r"telemetry\.headers") as caught:
        setup_telemetry(endpoint="https://localhost:4318", settings=settings_for(authority, tmp_path, telemetry__headers="SECRET-value"))
    assert "SECRET" not in str(caught.value)
    assert telemetry._providers is None


def test_what_other_libraries_tell_of_content_and_exceptions_is_left_out(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    from opentelemetry import trace

    setup_telemetry(endpoint=collector.url, settings=settings_for(authority, tmp_path))
    other = trace.get_tracer("opentelemetry.instrumentation.openai")
    told = {
        "gen_ai.request.model": "gpt-4",
        "gen_ai.input.messages": "CANARY",
        "gen_ai.prompt.0.content": "CANARY",
        "input.value": "CANARY",
        "llm.input_messages.0.message.content": "CANARY",
        "db.query.text": "CANARY",
        "url.full": "https://x/CANARY",
        "http.response.status_code": 200,
    }
    with pytest.raises(ValueError, match="CANARY"), other.start_as_current_span("chat gpt-4", attributes=told):
        raise ValueError("CANARY")
    shutdown_telemetry()
    (span,) = collector.spans
    assert attributes_of(span.attributes) == {"gen_ai.request.model": "gpt-4", "http.response.status_code": 200}
    assert (span.status.code, [attributes_of(event.attributes)["exception.type"] for event in span.events]) == (2, ["ValueError"])
    assert all(b"CANARY" not in body for body in collector.bodies)


class Searched(Service):
    """Remembers the heads of its requests."""

    heads: list[bytes]

    def _body(self, head: bytes, body: bytes) -> bytes:
        self.heads.append(head)
        return super()._body(head, body)


async def test_a_search_is_one_client_span_and_its_trace_goes_on_to_the_cluster(collector: Collector, authority: trustme.CA, tmp_path: Path) -> None:
    with Searched(authority).running() as cluster:
        assert isinstance(cluster, Searched)
        cluster.heads = []
        settings = settings_for(authority, tmp_path, search__host=cluster.url)
        transport = Transport(settings.search, NetworkPolicy(settings.network))
        await transport.perform("POST", "/docs/_search", body={"query": {"match": {"text": "CANARY"}}}, index="docs")
        setup_telemetry(endpoint=collector.url, settings=settings)
        set_correlation_id("call-9")
        await transport.perform("POST", "/docs/_search", body={"query": {"match": {"text": "CANARY"}}}, index="docs")
        await transport.aclose()
        set_correlation_id("")
        await asyncio.to_thread(shutdown_telemetry)
        before, traced = (head.decode().lower() for head in cluster.heads)
    (span,) = collector.spans
    assert (span.name, span.kind) == ("search docs", 3)
    assert attributes_of(span.attributes) == {
        "db.system.name": "opensearch",
        "db.operation.name": "search",
        "db.collection.name": "docs",
        "db.response.status_code": "200",
        "http.request.method": "POST",
        "server.address": "localhost",
        "server.port": cluster.port,
    }
    assert f"traceparent: 00-{span.trace_id.hex()}-{span.span_id.hex()}-03" in traced, "sampled, by a random id"
    assert "x-request-id: call-9" in traced
    assert "traceparent" not in before
    assert "x-request-id" not in before
    assert "db.client.operation.duration" in collector.metrics
    assert all(b"CANARY" not in body for body in collector.bodies)
