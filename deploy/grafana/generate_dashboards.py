"""Writes deploy/grafana/dashboards/*.json by Grafana's own typed builders: ``.venv/bin/python deploy/grafana/generate_dashboards.py [--check]``.

With ``--check`` nothing is written, and the exit code is 1 where the committed files are not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).resolve().parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 12, 8
JOB = 'job=~"$job"'
RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over time: a legend and an expression each."""

    title: str
    unit: str
    curves: Sequence[tuple[str, str]]
    about: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """One number of now."""

    title: str
    unit: str
    query: str
    about: str = ""


def rate(name: str, *labels: str, by: str = "", more: str = "") -> str:
    """Sum of a counter's rate."""
    chosen = ",".join((JOB, *labels))
    return f"sum{f' by ({by})' if by else ''} (rate({name}{{{chosen}}}{RATE})){more}"


def quantile(share: float, name: str, *labels: str, by: str = "") -> str:
    """A quantile of a histogram."""
    chosen = ",".join((JOB, *labels))
    return f"histogram_quantile({share}, sum by ({f'{by}, ' if by else ''}le) (rate({name}_bucket{{{chosen}}}{RATE})))"


STAGE = "rag_stage_duration_seconds"
PARTS = 'rag_stage!~"chat|retrieve|ingest.*|search.+"'
"""Stages of an answer that lie beside one another."""
HTTP = "http_server_request_duration_seconds"
DB = "db_client_operation_duration_seconds"
MODEL = "gen_ai_client_operation_duration_seconds"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
TURNS = "rag_answers_total"
CACHE = "rag_cache_requests_total"
FAILED = 'error_type!=""'
SENTENCE = 'rag_stage="first_sentence"'
USED = 'rag_state="used"'
ERRORS = 'http_response_status_code=~"[45].."'
OPEN = 'rag_state!="closed"'
DASHBOARDS: dict[str, tuple[str, list[tuple[str, list[Chart | Number]]]]] = {
    "rag-stages": (
        "RAG: stages",
        [
            (
                "Answers",
                [
                    Chart(
                        "How long a turn takes",
                        "s",
                        [(f"p{round(100 * q)}", quantile(q, STAGE, 'rag_stage="chat"')) for q in (0.5, 0.95, 0.99)],
                        "The dots are traces, where traces are exported.",
                        exemplars=True,
                    ),
                    Chart(
                        "How long the first sentence takes",
                        "s",
                        [(f"p{round(100 * q)}", quantile(q, STAGE, SENTENCE)) for q in (0.5, 0.95)],
                    ),
                    Chart("Turns by outcome", "reqps", [("{{rag_outcome}}", rate(TURNS, by="rag_outcome"))]),
                    Chart("Turns under way", "short", [("{{instance}}", f"rag_chats_active{{{JOB}}}")]),
                ],
            ),
            (
                "Stages",
                [
                    Chart(
                        "Seconds of work a second, by stage",
                        "s",
                        [("{{rag_stage}}", rate(f"{STAGE}_sum", PARTS, by="rag_stage"))],
                        "What takes the time. Stages of one answer may run side by side.",
                    ),
                    Chart("p95 by stage", "s", [("{{rag_stage}}", quantile(0.95, STAGE, PARTS, by="rag_stage"))]),
                    Chart("Legs of a search, p95", "s", [("{{rag_stage}}", quantile(0.95, STAGE, 'rag_stage=~"search.+"', by="rag_stage"))]),
                    Chart("Stages that fail", "reqps", [("{{rag_stage}} {{error_type}}", rate(f"{STAGE}_count", FAILED, by="rag_stage, error_type"))]),
                ],
            ),
            (
                "Models and search engine",
                [
                    Chart(
                        "Calls of models, p95",
                        "s",
                        [
                            (
                                "{{gen_ai_operation_name}} {{gen_ai_request_model}}",
                                quantile(0.95, MODEL, by="gen_ai_operation_name, gen_ai_request_model"),
                            )
                        ],
                    ),
                    Chart(
                        "First words of models, p95",
                        "s",
                        [("{{gen_ai_request_model}}", quantile(0.95, FIRST, by="gen_ai_request_model"))],
                    ),
                    Chart(
                        "Requests to OpenSearch, p95",
                        "s",
                        [("{{db_operation_name}}", quantile(0.95, DB, by="db_operation_name"))],
                    ),
                    Chart(
                        "Calls that fail",
                        "reqps",
                        [
                            ("model: {{error_type}}", rate(f"{MODEL}_count", FAILED, by="error_type")),
                            ("OpenSearch: {{error_type}}", rate(f"{DB}_count", FAILED, by="error_type")),
                        ],
                    ),
                ],
            ),
        ],
    ),
    "rag-quality": (
        "RAG: quality",
        [
            (
                "Now",
                [
                    Number("Degraded, last hour", "percentunit", "max(rag:answers_degraded:ratio_rate1h)"),
                    Number("Refused, last hour", "percentunit", "max(rag:answers_refused:ratio_rate1h)"),
                    Number("Thumbs down, last day", "percentunit", "max(rag:feedback_down:ratio_rate1d)"),
                ],
            ),
            (
                "Answers",
                [
                    Chart("Turns by outcome", "reqps", [("{{rag_outcome}}", rate(TURNS, by="rag_outcome"))]),
                    Chart(
                        "Why answers were less than asked for",
                        "reqps",
                        [("{{rag_reason}}", rate("rag_answer_degraded_total", by="rag_reason"))],
                        "docs/runbooks/RagAnswersDegraded.md tells what each reason means.",
                    ),
                    Chart("Turns that fail", "reqps", [("{{error_type}}", rate(TURNS, 'rag_outcome="failed"', by="error_type"))]),
                    Chart(
                        "Citations of an answer", "short", [("median", quantile(0.5, "rag_answer_citations")), ("p95", quantile(0.95, "rag_answer_citations"))]
                    ),
                    Chart("Ratings a day", "short", [("{{rag_rating}}", f"sum by (rag_rating) (increase(rag_feedback_total{{{JOB}}}[1d]))")]),
                    Chart("Turns by search mode", "reqps", [("{{rag_mode}}", rate(TURNS, by="rag_mode"))]),
                ],
            ),
        ],
    ),
    "rag-cost": (
        "RAG: cost",
        [
            (
                "Now",
                [
                    Number("Cost, last day", "short", f"sum(increase(rag_cost_total{{{JOB}}}[1d]))", "In the unit of the configured prices."),
                    Number("Tokens, last day", "short", f"sum(increase(gen_ai_client_token_usage_sum{{{JOB}}}[1d]))"),
                    Number(
                        "Cost of an answer, last day",
                        "short",
                        f'sum(increase(rag_cost_total{{{JOB}}}[1d])) / sum(increase(rag_answers_total{{{JOB},rag_outcome="answered"}}[1d]))',
                    ),
                ],
            ),
            (
                "Models",
                [
                    Chart("Cost an hour, by model", "short", [("{{gen_ai_request_model}}", rate("rag_cost_total", by="gen_ai_request_model", more=" * 3600"))]),
                    Chart(
                        "Tokens a second, by model",
                        "short",
                        [
                            (
                                "{{gen_ai_request_model}} {{gen_ai_token_type}}",
                                rate("gen_ai_client_token_usage_sum", by="gen_ai_request_model, gen_ai_token_type"),
                            )
                        ],
                    ),
                    Chart(
                        "Cost an hour, by tenant",
                        "short",
                        [("{{rag_tenant}}", f"topk(10, {rate('rag_cost_total', by='rag_tenant', more=' * 3600')})")],
                        "Tenants are told apart with [telemetry] metrics_tenants.",
                    ),
                    Chart(
                        "Vectors that the cache spared",
                        "percentunit",
                        [
                            (
                                "{{rag_cache}}",
                                rate(CACHE, 'rag_outcome="hit"', by="rag_cache") + " / " + rate(CACHE, by="rag_cache"),
                            )
                        ],
                    ),
                ],
            ),
        ],
    ),
    "rag-infrastructure": (
        "RAG: infrastructure",
        [
            (
                "Now",
                [
                    Number("Processes that answer", "short", f"count(rag_build_info{{{JOB}}})"),
                    Number("Parts that are not healthy", "short", f"count(rag_component_healthy{{{JOB}}} == 0) or vector(0)"),
                    Number("Breakers that are open", "short", f'sum(rag_breaker_state{{{JOB},rag_state="open"}}) or vector(0)'),
                ],
            ),
            (
                "Requests",
                [
                    Chart("Requests, by route", "reqps", [("{{http_route}}", rate(f"{HTTP}_count", by="http_route"))]),
                    Chart(
                        "Answers with errors",
                        "reqps",
                        [
                            (
                                "{{http_route}} {{http_response_status_code}}",
                                rate(
                                    "http_server_request_duration_seconds_count",
                                    ERRORS,
                                    by="http_route, http_response_status_code",
                                ),
                            )
                        ],
                    ),
                    Chart("p95 by route", "s", [("{{http_route}}", quantile(0.95, HTTP, by="http_route"))], exemplars=True),
                    Chart("Requests under way", "short", [("{{instance}}", f"http_server_active_requests{{{JOB}}}")]),
                ],
            ),
            (
                "Parts",
                [
                    Chart("Health", "short", [("{{rag_component}} {{instance}}", f"rag_component_healthy{{{JOB}}}")]),
                    Chart("Breakers", "short", [("{{rag_hop}} {{rag_state}}", f"sum by (rag_hop, rag_state) (rag_breaker_state{{{JOB},{OPEN}}})")]),
                    Chart("Waiting", "short", [("{{rag_queue}} {{instance}}", f"rag_queue_depth{{{JOB}}}")]),
                    Chart(
                        "Pools in use",
                        "percentunit",
                        [
                            (
                                "{{rag_pool}} {{instance}}",
                                f"sum by (instance, rag_pool) (rag_pool_connections{{{JOB},{USED}}}) / sum by (instance, rag_pool) (rag_pool_limit{{{JOB}}})",
                            )
                        ],
                    ),
                ],
            ),
            (
                "Index and ingestion",
                [
                    Chart("Index", "short", [("documents", f"max(rag_index_documents{{{JOB}}})"), ("chunks", f"max(rag_index_chunks{{{JOB}}})")]),
                    Chart("Age of the index", "s", [("since a change", f"time() - max(rag_index_changed_timestamp_seconds{{{JOB}}})")]),
                    Chart(
                        "Documents ingested an hour",
                        "short",
                        [("{{rag_outcome}} {{rag_reason}}", f"sum by (rag_outcome, rag_reason) (increase(rag_ingest_documents_total{{{JOB}}}[1h]))")],
                    ),
                    Chart("Runs of ingestion an hour", "short", [("{{rag_outcome}}", f"sum by (rag_outcome) (increase(rag_ingest_runs_total{{{JOB}}}[1h]))")]),
                ],
            ),
            (
                "Processes",
                [
                    Chart("Memory", "bytes", [("{{instance}}", f"process_resident_memory_bytes{{{JOB}}}")]),
                    Chart("Processor", "short", [("{{instance}}", f"rate(process_cpu_seconds_total{{{JOB}}}{RATE})")], "1 is one core."),
                    Chart("Open files", "short", [("{{instance}}", f"process_open_fds{{{JOB}}}")]),
                    Chart(
                        "Telemetry that was lost",
                        "short",
                        [
                            ("to the collector, {{instance}}", f"increase(rag_telemetry_lost_total{{{JOB}}}[1h])"),
                            ("log lines, {{rag_stream}} {{instance}}", f"increase(rag_log_dropped_total{{{JOB}}}[1h])"),
                        ],
                        "In an hour: the collector was away, or a file could not be written.",
                    ),
                ],
            ),
        ],
    ),
}


def _panel(entry: Chart | Number) -> Any:
    if isinstance(entry, Number):
        number = stat.Panel().title(entry.title).description(entry.about).unit(entry.unit).datasource(SOURCE).span(8).height(4)
        return number.with_target(prometheus.Dataquery().expr(entry.query).instant().ref_id("A").datasource(SOURCE))
    panel = timeseries.Panel().title(entry.title).description(entry.about).unit(entry.unit).datasource(SOURCE).span(WIDTH).height(HEIGHT).min(0)
    panel = panel.legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True))
    panel = panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    for place, (legend, query) in enumerate(entry.curves):
        target = prometheus.Dataquery().expr(query).range().legend_format(legend).ref_id(chr(ord("A") + place)).datasource(SOURCE)
        panel = panel.with_target(target.exemplar(True) if entry.exemplars else target)
    return panel


def _alerts() -> Any:
    shown = table.Panel().title("Alerts that fire").datasource(SOURCE).span(24).height(6)
    return shown.with_target(
        prometheus.Dataquery().expr('ALERTS{alertname=~"Rag.+",alertstate="firing"}').instant().format(PromQueryFormat.TABLE).ref_id("A").datasource(SOURCE)
    )


def render(uid: str) -> str:
    """A dashboard's file."""
    title, rows = DASHBOARDS[uid]
    made = dashboard.Dashboard(title).uid(uid).tags(["rag"]).refresh("1m").time("now-6h", "now").timezone("browser").readonly()
    made = made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    jobs = (
        dashboard.QueryVariable("job").label("Job").datasource(SOURCE).query("label_values(rag_build_info, job)").multi(True).include_all(True).all_value(".*")
    )
    made = made.with_variable(jobs).link(dashboard.DashboardLink("RAG dashboards").type(DashboardLinkType.DASHBOARDS).tags(["rag"]).as_dropdown(True))
    for name, entries in rows:
        made = made.with_row(dashboard.Row(name))
        for entry in entries:
            made = made.with_panel(_panel(entry))
    if uid == "rag-infrastructure":
        made = made.with_row(dashboard.Row("Alerts")).with_panel(_alerts())
    data = json.loads(JSONEncoder(sort_keys=True).encode(made.build()))
    for number, panel in enumerate(data["panels"], 1):
        panel["id"] = number
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    stale = 0
    for uid in DASHBOARDS:
        path, text = FOLDER / f"{uid}.json", render(uid)
        if "--check" in arguments:
            stale += not path.is_file() or path.read_text(encoding="utf-8") != text
        else:
            path.write_text(text, encoding="utf-8")
    return min(stale, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
