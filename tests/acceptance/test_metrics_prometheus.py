"""Figures as an operator sees them: a server under load, a command beside it, Debian's Prometheus with the rules of deploy/."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from src.telemetry.metrics_catalogue import FIGURES
from tests.acceptance.conftest import Server, rag, serving, write_config
from tests.conftest import skip_or_fail

QUESTION = "How many days of annual leave do employees receive?"
LIMIT_S = 30.0


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        skip_or_fail(f"{name} is not installed (apt-get install prometheus)")
    return str(path)


def waited(found: Callable[[], Any]) -> Any:
    """What a question gives once it gives something."""
    ends = time.monotonic() + LIMIT_S
    while not (result := found()) and time.monotonic() < ends:
        time.sleep(0.1)
    return result


def values(text: str, name: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return {line[0].removeprefix(name): float(line[2]) for line in lines}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[tuple[Server, str]]:
    """A server with a listener of its own for figures; and that one's address."""
    folder = tmp_path_factory.mktemp("figures")
    more = "[telemetry]\nmetrics_port = 0\nmetrics_token = scrape-me\n[retrieval]\nmode = bm25\n"
    done = rag("ingest", root / "examples" / "handbook" / "hr", "--config", write_config(folder, {}, more), cwd=folder)
    assert done.returncode == 0, done.stderr
    with serving(folder, more=more) as running:
        with running.client() as client:
            for question in (QUESTION, "What is the airspeed of an unladen swallow?"):
                assert client.post("/v1/chat", json={"message": question}).status_code == 200
        yield running, str(running.told["metrics"])


def look(url: str) -> str:
    answer = httpx2.get(url, headers={"Authorization": "Bearer scrape-me"}, timeout=30)
    assert answer.status_code == 200
    return answer.text


def test_a_listener_of_its_own_shows_the_server_s_figures_and_those_of_a_command(server: tuple[Server, str]) -> None:
    running, url = server
    text = look(url)
    assert sum(values(text, "rag_answers_total").values()) == 2
    assert sum(value for labels, value in values(text, "rag_ingest_documents_total").items() if "added" in labels) > 3
    assert values(text, "rag_index_chunks")
    assert httpx2.get(url, timeout=30).status_code == 401
    with running.client() as client:
        assert client.get("/metrics").status_code == 404
    allowed = {figure.exposed: set(figure.exposed_labels) for figure in FIGURES.values()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if not family.name.startswith("process_") else ():
            name = family.name if family.type != "counter" else f"{family.name}_total"
            assert set(sample.labels) - {"le"} <= allowed[name], sample
    assert not any(word in text.lower() for word in ("swallow", "annual leave", "scrape-me"))


@pytest.mark.long
def test_looks_while_others_ask_and_while_commands_end_lose_nothing(server: tuple[Server, str], tmp_path: Path) -> None:
    running, url = server
    before = sum(values(look(url), "http_server_request_duration_seconds_count").values())

    def ask() -> None:
        with running.client() as client:
            for _ in range(20):
                client.get("/health/live")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        look(url)
    for thread in threads:
        thread.join()
    note = tmp_path / "note.md"
    note.write_text("# Late\n\nA note that comes late.\n", encoding="utf-8")
    runs = values(look(url), "rag_ingest_runs_total")['{rag_outcome="complete"}']
    assert rag("ingest", note, "--config", running.folder / "config.ini", cwd=running.folder).returncode == 0
    text = look(url)
    assert sum(values(text, "http_server_request_duration_seconds_count").values()) == before + 80
    assert values(text, "rag_ingest_runs_total")['{rag_outcome="complete"}'] == runs + 1


@pytest.mark.long
def test_promtool_takes_the_rules_and_every_alert_fires_where_it_should(root: Path) -> None:
    folder = root / "deploy" / "prometheus"
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run([tool("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_to_mend_in_what_is_shown(server: tuple[Server, str]) -> None:
    done = subprocess.run([tool("promtool"), "check", "metrics"], input=look(server[1]), capture_output=True, text=True, check=False)
    # Names of OTel's conventions, which its own exporter makes alike; "info" of a gauge is Prometheus' own way.
    known = ("gen_ai_client_token_usage",)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith(known)] == []


@contextmanager
def prometheus(folder: Path, targets: list[str], rules: Path) -> Iterator[httpx2.Client]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    job = {"job_name": "rag", "static_configs": [{"targets": targets}], "authorization": {"credentials": "scrape-me"}}
    config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}, "scrape_configs": [job]}
    config["rule_files"] = [str(path) for path in rules.glob("*.rules.yml")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, "--enable-feature=exemplar-storage"], stdout=log, stderr=log)
        try:
            with httpx2.Client(base_url=f"http://{address}/api/v1", timeout=10) as client:
                yield client
        finally:
            process.terminate()
            process.wait(20)


def asked(client: httpx2.Client, query: str) -> list[dict[str, Any]]:
    try:
        found = client.get("/query", params={"query": query}).json()
    except (httpx2.TransportError, json.JSONDecodeError):  # it is starting
        return []
    assert found["status"] == "success", found
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def test_a_real_prometheus_looks_records_and_alerts(server: tuple[Server, str], root: Path, tmp_path: Path) -> None:
    rules = root / "deploy" / "prometheus"
    here = server[1].removeprefix("http://").removesuffix("/metrics")
    with prometheus(tmp_path, [here, "127.0.0.1:1"], rules) as client:
        up = waited(lambda: {one["metric"]["instance"]: one["value"][1] for one in asked(client, 'up{job="rag"} == 1')})
        assert up == {here: "1"}, (tmp_path / "prometheus.log").read_text(encoding="utf-8")
        pending = waited(lambda: asked(client, 'ALERTS{alertname="RagDown"}'))
        assert [(one["metric"]["instance"], one["metric"]["severity"]) for one in pending] == [("127.0.0.1:1", "page")]
        alerts = {rule["alert"]: rule["expr"] for rule in yaml.safe_load((rules / "alerts.rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]}
        true = {name for name, expression in alerts.items() if asked(client, expression)}
        assert true == {"RagDown"}
        assert asked(client, f"{alerts['RagIndexEmpty'].removesuffix('== 0')} > 0")
        assert waited(lambda: asked(client, "rag:pool_used:ratio or rag:turn_seconds:p95_10m or rag:request_errors:ratio_rate5m or rag_build_info"))
