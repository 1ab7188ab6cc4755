"""`[telemetry]`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from ...retrieval.config import LINES
from ...util.patterns import SYNTAX, Places
from .section import Section, has_form, usable_address, without_credentials

Signal = Literal["traces", "metrics", "logs"]
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_PRICE = re.compile(r"[^=]+=\s*[0-9]+(\.[0-9]+)?\s*(/\s*[0-9]+(\.[0-9]+)?\s*)?")


def collector_address(value: str | None) -> str | None:
    """An address in the schemes of HTTP or gRPC as it is.

    Raises:
        ValueError: as of `usable_address`.
    """
    if value is not None and without_credentials(value) and has_form(value, ("grpc", "grpcs", "grpc+insecure")):
        return value
    return usable_address(value)


class TelemetryCfg(Section):
    """`[telemetry]`: logs, traces and metrics."""

    enabled: bool = Field(False, description="Export traces, metrics and logs; needs the extra `otel`.")
    exporter: Literal["otlp", "console", "none"] = Field(
        "otlp", description="Where to: `otlp` sends to `endpoint`, `console` writes JSON to standard error, `none` keeps all in the process."
    )
    endpoint: str | None = Field(None, description="OTLP endpoint: of the OTLP receiver, as https://host:4318; or grpc://host:4317, over TLS.")
    protocol: Literal["http", "grpc"] = Field("http", description="OTLP over HTTP, in protobuf, or over gRPC; `grpc` needs the extra `otel-grpc`.")
    headers: SecretStr | None = Field(None, description="Headers for the collector, as Authorization=Bearer%20KEY,x-team=search; values percent-encoded.")
    service_name: str = Field("founders-rag", min_length=1, max_length=128, description="Name under which this service is found, `service.name`.")
    resource: tuple[str, ...] = Field((), max_length=32, description="Further attributes of all that is exported, each as name=value.")
    signals: tuple[Signal, ...] = Field(("traces", "metrics", "logs"), description="What is exported.")
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of the traces that is exported; traces with errors and slow ones always are.")
    slow_ms: int = Field(2000, ge=0, description="A request that takes as many milliseconds is slow, and its trace is exported.")
    queue_size: int = Field(20_000, ge=512, le=1_000_000, description="Spans, and log records, that wait for export at most; more are dropped.")
    metrics_interval_s: float = Field(60.0, ge=1, description="Seconds between two exports of metrics.")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Seconds that one export may take.")
    flush_timeout_s: float = Field(3.0, gt=0, le=60, description="Seconds that the end of the process waits for what is not yet exported.")
    capture_content: bool = Field(False, description="Keep questions, prompts and answers, redacted, where `content_to` says.")
    content_to: Literal["file", "traces"] = Field(
        "file", description="`file`: `content/conversation.log` in the data folder; `traces`: attributes of the spans of models' calls."
    )
    redact_patterns: tuple[str, ...] = Field(
        (),
        max_length=100,
        json_schema_extra=LINES,
        description="What is redacted besides secrets, e-mail, telephone, card and account numbers: one a line, as customer=C-[0-9]{6,8}.",
    )
    presidio: tuple[str, ...] = Field(
        (), max_length=100, description="Entities that Presidio's patterns look for as well, as UK_NHS, IP_ADDRESS; needs the extra `presidio`."
    )
    hotspots: bool = Field(True, description="Keep what stages of requests took, without content, in a file of the data folder for `rag hotspots` and /admin.")
    hotspots_days: int = Field(7, ge=1, le=90, description="Days that these figures are kept.")
    hotspots_mb: int = Field(32, ge=1, le=10_000, description="Megabytes that their file may take; the oldest go first.")
    metrics: bool = Field(True, description="Keep figures while `rag serve` runs, and show them to Prometheus at `/metrics`.")
    metrics_token: SecretStr | None = Field(None, description="Bearer token that Prometheus sends; operators (`[api] admin_group`) may look without it.")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Port of a listener for `/metrics` alone, instead of the API's; 0 takes a free one.")
    metrics_host: str = Field("127.0.0.1", description="Address of that listener. Who reaches it may look, unless `metrics_token` is set.")
    metrics_tenants: int = Field(0, ge=0, le=1000, description="Tenants that answers and cost are told apart by, the first ones seen; the rest is `_other`.")
    prices: tuple[str, ...] = Field(
        (), description="What a million tokens of a model cost, read/written, as gpt-4o=2.5/10; for `rag_cost_total`. `[agent]` has those of the chat model."
    )
    _address = field_validator("endpoint")(collector_address)

    @field_validator("redact_patterns")
    @classmethod
    def _usable_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            name, equals, pattern = line.partition("=")
            if not equals or not _KIND.fullmatch(name.strip()) or not pattern.strip():
                raise ValueError(f"{line!r} is not of the form NAME=PATTERN, as customer=C-[0-9]{{6,8}}; names are small letters, digits, - and _.")
            try:
                Places(pattern.strip())
            except ValueError as error:
                raise ValueError(f"{name.strip()} is no regular expression that can be used: {error}. {SYNTAX}") from None
        return value

    def own_patterns(self) -> list[tuple[str, str]]:
        """Names and regular expressions of what is redacted besides."""
        pairs = (line.partition("=") for line in self.redact_patterns)
        return [(name.strip(), pattern.strip()) for name, _, pattern in pairs]

    @field_validator("prices")
    @classmethod
    def _prices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [entry for entry in value if not _PRICE.fullmatch(entry)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no price; write MODEL=READ/WRITTEN, such as gpt-4o=2.5/10")
        return value
