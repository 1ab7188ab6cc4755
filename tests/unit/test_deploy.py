"""Files of deploy/: rules and dashboards ask for nothing that `/metrics` does not have, and each alert has its page."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from src.cli.main import COMMANDS
from src.errors import RagError
from src.infra.configuring.schema import all_names
from src.telemetry.metrics_catalogue import FIGURES

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks"
TARGET = {"job", "instance"}
PROCESS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds", "process_max_fds")


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


RECORDED: dict[str, str] = {rule["record"]: rule["expr"] for rule in rules("recording.rules.yml")}
ALERTS = {rule["alert"]: rule for rule in rules("alerts.rules.yml")}


@cache
def shown() -> dict[str, set[str]]:
    """Each series that `/metrics` or a rule gives, and the labels that it may have."""
    found = {name: set(TARGET) for name in (*PROCESS, "up", "process_start_time_seconds")}
    found["ALERTS"] = {*TARGET, "alertname", "alertstate", "severity"}
    for figure in FIGURES.values():
        labels = {*TARGET, *figure.exposed_labels}
        if figure.kind == "histogram":
            found |= {f"{figure.exposed}_{part}": labels for part in ("sum", "count")} | {f"{figure.exposed}_bucket": {*labels, "le"}}
        else:
            found[figure.exposed] = labels
    for name, expression in RECORDED.items():
        found[name] = labels_of(promql_parser.parse(expression))
    return found


def labels_of(node: Any) -> set[str]:
    """Labels of what an expression gives, as far as these rules need it."""
    if isinstance(node, promql_parser.AggregateExpr):
        return set(node.modifier.labels) if node.modifier else set()
    if isinstance(node, promql_parser.BinaryExpr):
        return labels_of(node.lhs) | labels_of(node.rhs)
    if isinstance(node, promql_parser.Call):
        return set().union(*map(labels_of, node.args)) - ({"le"} if node.func.name == "histogram_quantile" else set())
    if isinstance(node, promql_parser.VectorSelector):
        return shown()[node.name or ""]
    return set().union(*(labels_of(child) for child in parts(node) if child is not node and isinstance(child, promql_parser.VectorSelector)))


def parts(node: Any) -> Iterator[Any]:
    """An expression and all that it is made of."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", None) or ():
        yield from parts(child)


def asked_for(expression: str) -> tuple[set[str], set[str]]:
    """Names of series in an expression; and what is wrong with it: unknown names, labels that a series has not."""
    selectors = [part for part in parts(promql_parser.parse(expression)) if isinstance(part, promql_parser.VectorSelector)]
    wrong = {str(one.name) for one in selectors if one.name not in shown()}
    for one in selectors:
        wrong |= {f"{one.name}{{{match.name}}}" for match in one.matchers.matchers if one.name in shown() and match.name not in shown()[one.name]}
    has = {label for one in selectors for label in shown().get(one.name or "", ())}
    for part in parts(promql_parser.parse(expression)):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            wrong |= {f"by ({label})" for label in part.modifier.labels if label not in has}
    return {str(one.name) for one in selectors}, wrong


def expressions(path: Path) -> list[str]:
    data = json.loads(path.read_text(encoding="utf-8"))
    panels = [inner for panel in data["panels"] for inner in (panel, *panel.get("panels", ()))]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [text.replace("$__rate_interval", "5m").replace("$job", "rag") for text in found]


def test_the_check_itself_finds_what_is_wrong() -> None:
    assert asked_for("rate(rag_answers_total{rag_outcome='x'}[5m]) / on(job) rag_nothing")[1] == {"rag_nothing"}
    assert asked_for("sum by (rag_stage) (rag_queue_depth{colour='red'})")[1] == {"rag_queue_depth{colour}", "by (rag_stage)"}
    assert asked_for("histogram_quantile(0.9, sum by (le) (rate(rag_answers_total[5m])))")[1] == {"by (le)"}


@pytest.mark.parametrize("name", [*RECORDED, *ALERTS])
def test_rules_ask_for_what_is_shown(name: str) -> None:
    expression = RECORDED[name] if name in RECORDED else ALERTS[name]["expr"]
    names, wrong = asked_for(expression)
    assert (bool(names), wrong) == (True, set())


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_for_what_is_shown(path: Path) -> None:
    found = expressions(path)
    assert len(found) > 5
    assert {expression: wrong for expression in found if (wrong := asked_for(expression)[1])} == {}


def test_labels_of_alerts_words_are_labels_that_the_alert_has() -> None:
    for name, rule in ALERTS.items():
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels_of_alert(rule["expr"]), name


def labels_of_alert(expression: str) -> set[str]:
    return labels_of(promql_parser.parse(expression))


def test_every_figure_but_few_is_on_a_dashboard_or_in_an_alert() -> None:
    asked = {name for path in DASHBOARDS for text in expressions(path) for name in asked_for(text)[0]}
    asked |= {name for text in (*RECORDED.values(), *(rule["expr"] for rule in ALERTS.values())) for name in asked_for(text)[0]}
    unseen = {figure.exposed for figure in FIGURES.values() if not any(name.startswith(figure.exposed) for name in asked)}
    assert unseen <= {"rag_ingest_chunks_total", "rag_ingest_ended_timestamp_seconds"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_of_grafana_s_schema_and_lose_nothing_in_it(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(data)))
    assert read == data
    assert data["uid"] == path.stem
    ids = [panel["id"] for panel in data["panels"]]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in data["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if overlap(a, b)]


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    return not (beside or above)


def test_the_committed_dashboards_are_what_the_script_makes() -> None:
    script = runpy.run_path(str(ROOT / "deploy" / "grafana" / "generate_dashboards.py"))
    assert {path.stem for path in DASHBOARDS} == set(script["DASHBOARDS"])
    for path in DASHBOARDS:
        assert path.read_text(encoding="utf-8") == script["render"](path.stem), "run deploy/grafana/generate_dashboards.py"


def test_each_alert_is_tested_and_has_its_page() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    fires = {case["alertname"]: bool(case["exp_alerts"]) for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    assert set(fires) == quiet == set(ALERTS)
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*ALERTS, "README"}
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in {"page", "ticket"}


@pytest.mark.parametrize("name", [*ALERTS, "README"])
def test_runbooks_name_commands_keys_and_errors_that_exist(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    if name != "README":
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "What users see", "First look", "Causes and mending"]
        assert " ".join(ALERTS[name]["expr"].split()) in text, "the page shows another expression than the rule"
    assert {word for word in re.findall(r"\brag ([a-z]+)\b(?!:)", code_of(text)) if word not in COMMANDS} == set()
    keys = {f"{section}.{key}" for section, key in re.findall(r"`\[(\w+)\] (\w+)", text)} | set(re.findall(r"explain (\w+\.\w+)", text))
    assert keys <= set(all_names())
    assert all((RUNBOOKS / link).exists() for link in re.findall(r"\]\(([\w./]+\.md)\)", text))
    codes = {code for line in re.findall(r"`error_type` is (.*?) \|", text) for code in re.findall(r"`([a-z-]+)`", line)}
    assert codes <= {kind.code for kind in kinds(RagError)}


def code_of(text: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`(rag [^`]+)`", text))


def kinds(kind: type[RagError]) -> Iterator[type[RagError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def test_the_collector_s_pipelines_name_parts_that_are_there() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "otel-collector" / "config.yaml").read_text(encoding="utf-8"))
    pipelines = config["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        used = {part for pipeline in pipelines.values() for part in pipeline[kind]}
        assert used == set(config[kind]), kind
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    policies = config["processors"]["tail_sampling"]["policies"]
    assert all(policy["type"] in policy for policy in policies), "a policy's settings stand under its type"
