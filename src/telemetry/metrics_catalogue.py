"""Every figure that this package records: its name, kind, unit, labels and meaning. Whatever shows, documents or alerts on figures reads this list.

Names of OTel's conventions where they have one, else under `rag.`. As Prometheus shows them they follow OTel's own rule: dots are
underscores, the unit stands behind, and counters end in ``_total``; so a collector in between makes the same names of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import DocumentReason

Kind = Literal["counter", "gauge", "histogram"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the histograms of durations."""
GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0)
"""Bounds that the conventions for generative AI name."""
FEW = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)

TENANT = "rag.tenant"
_UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "%": "percent"}

Start = tuple[tuple[str, str | bool], ...]
"""Attributes of a series that is shown before its first value."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        labels: names that it may carry; not each value has all of them.
        by_tenant: carries `TENANT` as well, where `[telemetry] metrics_tenants` asks for it.
        watched: read when somebody looks, not recorded when something happens.
        starts: attributes of series that are shown as 0 before the first: of a counter that is not there, no rise can be seen.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = SECONDS
    by_tenant: bool = False
    watched: bool = False
    starts: tuple[Start, ...] = ()

    @property
    def exposed(self) -> str:
        """Its name in Prometheus: of a histogram, before ``_bucket``, ``_sum`` and ``_count``."""
        return exposed_name(self.name, self.kind, self.unit)

    @property
    def exposed_labels(self) -> tuple[str, ...]:
        return tuple(exposed_label(name) for name in (*self.labels, *((TENANT,) if self.by_tenant else ())))


def exposed_label(name: str) -> str:
    """A label's name in Prometheus."""
    found = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{found}" if found[:1].isdigit() else found or "_"


def exposed_name(name: str, kind: Kind, unit: str) -> str:
    """A figure's name in Prometheus."""
    found = exposed_label(name)
    word = _UNITS.get(unit, "" if unit == "1" or unit.startswith("{") else exposed_label(unit))
    if word and not found.endswith(f"_{word}"):
        found = f"{found}_{word}"
    return f"{found}_total" if kind == "counter" and not found.endswith("_total") else found


def _each(label: str, *values: str) -> tuple[Start, ...]:
    return tuple(((label, value),) for value in values)


_ENDS = (("answered", False), ("answered", True), ("refused", False), ("refused", True), ("clarifying", False))
_MODEL = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port")
_ALL = (
    # What is asked of this process.
    Figure(
        "http.server.request.duration",
        "histogram",
        "s",
        "HTTP requests and how long they took, streams to their end.",
        ("http.request.method", "url.scheme", "http.route", "http.response.status_code", "error.type"),
    ),
    Figure("http.server.active_requests", "gauge", "{request}", "HTTP requests under way.", watched=True),
    Figure(
        "rag.answers",
        "counter",
        "{answer}",
        "Turns by how they ended: answered, refused, clarifying (asked back), waiting (for an approval), failed, rejected (for what was asked), cancelled.",
        ("rag.outcome", "rag.degraded", "rag.mode", "error.type"),
        by_tenant=True,
        starts=tuple(
            (("rag.outcome", outcome), ("rag.degraded", degraded), ("rag.mode", mode)) for mode in ("bm25", "knn", "hybrid") for outcome, degraded in _ENDS
        ),
    ),
    Figure("rag.answer.degraded", "counter", "{answer}", "Why answers were less than asked for; an answer may have several reasons.", ("rag.reason",)),
    Figure("rag.answer.citations", "histogram", "{citation}", "Citations of an answer that is no refusal.", bounds=FEW),
    Figure("rag.chats.active", "gauge", "{chat}", "Turns under way.", watched=True),
    Figure(
        "rag.feedback",
        "counter",
        "{rating}",
        "Ratings of answers, up or down; a changed one counts again.",
        ("rag.rating",),
        starts=_each("rag.rating", "up", "down"),
    ),
    # Inside an answer.
    Figure("rag.stage.duration", "histogram", "s", "Stages of answers and of ingestion, and the operations around them.", ("rag.stage", "error.type")),
    Figure("gen_ai.client.operation.duration", "histogram", "s", "Calls of models.", (*_MODEL, "error.type"), GEN_AI_SECONDS),
    Figure("gen_ai.client.operation.time_to_first_chunk", "histogram", "s", "From the call of a model to the first of its words.", _MODEL, GEN_AI_SECONDS),
    Figure(
        "gen_ai.client.token.usage", "histogram", "{token}", "Tokens of a call of a model, as the service counts them.", (*_MODEL, "gen_ai.token.type"), TOKENS
    ),
    Figure(
        "rag.cost",
        "counter",
        "{cost}",
        "What models cost, in the unit of the configured prices; models without a price count nothing.",
        ("gen_ai.request.model", "gen_ai.token.type"),
        by_tenant=True,
    ),
    Figure(
        "db.client.operation.duration",
        "histogram",
        "s",
        "Requests to OpenSearch, repeats included.",
        ("db.system.name", "db.operation.name", "db.collection.name", "server.address", "server.port", "error.type"),
    ),
    # What is kept ready.
    Figure("rag.cache.requests", "counter", "{entry}", "Entries looked for in a cache: hit or miss.", ("rag.cache", "rag.outcome")),
    Figure(
        "rag.breaker.state",
        "gauge",
        "1",
        "Circuit breakers of a hop that are in a state: closed, open, half-open.",
        ("rag.part", "rag.hop", "rag.state"),
        watched=True,
    ),
    Figure("rag.queue.depth", "gauge", "{item}", "What waits in a queue.", ("rag.queue",), watched=True),
    Figure("rag.pool.connections", "gauge", "{connection}", "Connections of a pool: used or idle.", ("rag.pool", "rag.state"), watched=True),
    Figure("rag.pool.limit", "gauge", "{connection}", "Connections that a pool may have.", ("rag.pool",), watched=True),
    Figure("rag.telemetry.lost", "counter", "{item}", "Spans, points and log records dropped because the collector was away.", watched=True),
    Figure("rag.log.dropped", "counter", "{line}", "Log lines dropped because their file could not be written.", ("rag.stream",), watched=True),
    Figure(
        "rag.audit.failed",
        "counter",
        "{event}",
        "Events that the audit trail could not record: refused (what they were about was not done), or missing from it (`[audit] on_failure = warn`).",
        ("rag.outcome",),
        starts=_each("rag.outcome", "refused", "missing"),
    ),
    # The index and what goes into it.
    Figure("rag.index.documents", "gauge", "{document}", "Documents of the index."),
    Figure("rag.index.chunks", "gauge", "{chunk}", "Chunks of the index."),
    Figure("rag.index.changed.timestamp", "gauge", "s", "When the index was last written; on OpenSearch when its size was last seen to change (Unix time)."),
    Figure("rag.index.checked.timestamp", "gauge", "s", "When the index last told its size (Unix time)."),
    Figure(
        "rag.ingest.documents",
        "counter",
        "{document}",
        "Documents ingested: added, updated, unchanged or failed.",
        ("rag.outcome", "rag.reason"),
        starts=(
            *_each("rag.outcome", "added", "updated", "unchanged"),
            *((("rag.outcome", "failed"), ("rag.reason", reason)) for reason in (*get_args(DocumentReason), "not-found")),
        ),
    ),
    Figure("rag.ingest.chunks", "counter", "{chunk}", "Chunks written."),
    Figure(
        "rag.ingest.runs",
        "counter",
        "{run}",
        "Runs of ingestion: complete, or stopped by an error or by hand.",
        ("rag.outcome",),
        starts=_each("rag.outcome", "complete", "stopped"),
    ),
    Figure("rag.ingest.ended.timestamp", "gauge", "s", "When a run of ingestion last ended whole (Unix time)."),
    Figure("rag.component.healthy", "gauge", "1", "1 where a component is healthy or degraded, 0 where not.", ("rag.component", "rag.required")),
    Figure("rag.build.info", "gauge", "1", "Always 1; what runs.", ("service.version", "rag.engine", "rag.chat_model", "rag.embed_model"), watched=True),
)
FIGURES = {figure.name: figure for figure in _ALL}
