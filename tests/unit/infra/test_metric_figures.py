"""Figures for Prometheus: what is recorded is shown, under the names of the catalogue, and there is never too much of it."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as _untyped
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from src.agent.figures import OTHER, REASONS, Turns, kind_of
from src.agent.limits import STEPS_ENDED, cut_reason
from src.agent.nodes.generate import CUT, dropped_reason
from src.agent.waiting import WAITS
from src.core.chat import Answer
from src.core.identity import Identity, current_identity
from src.errors import ConfigurationError, NotFoundError, RagError
from src.infra.metrics import MAX_SERIES, Families, Store, current_store, prices_of, scrape, start_metrics, stop_metrics
from src.infra.metrics_commands import FILE, FOLDER, CommandFigures, counted
from src.infra.metrics_listener import MetricsListener
from src.infra.providers.key_fallback import reason as fallback_reason
from src.infra.providers.openai_tools import WITHOUT_TOOLS
from src.infra.resilience.breaker import CALL, Breaker, Breakers, Rules, watch_breakers
from src.infra.settings import load_settings
from src.telemetry import metrics
from src.telemetry.metrics_catalogue import FIGURES, Figure, exposed_name
from src.telemetry.stages import record_stage, stage

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_openmetrics: Callable[[Any], bytes] = _untyped
ROOT = Path(__file__).resolve().parents[3]


def settings(**more: Any) -> Any:
    return load_settings(overrides={name.replace("__", "."): value for name, value in more.items()}, environ={})


@pytest.fixture
def store() -> Iterator[Store]:
    assert start_metrics(settings(telemetry__metrics_tenants=20, telemetry__prices="big=2.5/10, small = 0.02"))
    found = current_store()
    assert found is not None
    yield found
    stop_metrics()
    assert current_store() is None
    metrics.begin(None)


def shown(accept: str = "", **more: Any) -> dict[str, Metric]:
    body, content_type = scrape(accept, **more)
    read = openmetrics_families if "openmetrics" in content_type else text_string_to_metric_families
    return {family.name: family for family in read(body.decode())}


def value(family: str, suffix: str = "", **labels: str) -> float | None:
    found = [s.value for s in shown()[family].samples if s.name == family + suffix and labels.items() <= s.labels.items()]
    return sum(found) if found else None


def test_a_stage_is_counted_and_timed_without_an_sdk(store: Store) -> None:
    with stage("embed"):
        pass
    record_stage("persist", 40.0)
    with pytest.raises(ValueError, match="secret"), stage("embed"):
        raise ValueError("secret")
    assert value("rag_stage_duration_seconds", "_count", rag_stage="embed") == 2
    assert value("rag_stage_duration_seconds", "_count", rag_stage="embed", error_type="ValueError") == 1
    assert value("rag_stage_duration_seconds", "_sum", rag_stage="persist") == pytest.approx(0.04)
    assert value("rag_stage_duration_seconds", "_bucket", rag_stage="persist", le="0.025") == 0
    assert value("rag_stage_duration_seconds", "_bucket", rag_stage="persist", le="0.05") == 1


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPENMETRICS, "text/plain;version=x", "*/*, application/openmetrics-text;version=9.9.z"])
def test_both_formats_hold_all_figures_from_the_first_look_on(store: Store, accept: str) -> None:
    families = shown(accept)
    names = {figure.exposed.removesuffix("_total") for figure in FIGURES.values()}
    assert names <= {name.removesuffix("_total") for name in families}
    assert {f.type for f in families.values()} <= {"counter", "gauge", "histogram"}


def test_names_are_those_that_otel_s_rule_makes() -> None:
    assert exposed_name("http.server.request.duration", "histogram", "s") == "http_server_request_duration_seconds"
    assert exposed_name("gen_ai.client.token.usage", "histogram", "{token}") == "gen_ai_client_token_usage"
    assert exposed_name("rag.search.duration", "histogram", "ms") == "rag_search_duration_milliseconds"
    assert exposed_name("rag.orders", "counter", "1") == "rag_orders_total"
    for figure in FIGURES.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", figure.exposed)
        assert figure.exposed.endswith("_total") == (figure.kind == "counter")
        assert figure.help.endswith(".")
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in figure.exposed_labels)


def test_every_figure_of_this_package_is_in_the_catalogue_with_its_labels() -> None:
    """Names at call sites are literals, so they can be read here; the catalogue has no figure that nobody records."""
    used: dict[str, set[str]] = {}
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    for text in texts:
        for node in ast.walk(ast.parse(text)) if re.search(r"\b(metrics\.(record|count|gauge|watch)|watch)\(", text) else ():
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in {"record", "count", "gauge", "watch"} and re.match(r"(http|rag|gen_ai|db)\.", node.args[0].value):
                    keys = [k.value for d in ast.walk(node) if isinstance(d, ast.Dict) for k in d.keys if isinstance(k, ast.Constant)]
                    used.setdefault(node.args[0].value, set()).update(map(str, keys))
    ours = {name: labels for name, labels in used.items() if name not in {"rag.queries", "rag.query.duration", "rag.embedded_texts", "rag.embedding.duration"}}
    assert set(ours) | {"rag.stage.duration"} == set(FIGURES)
    assert {name: labels - set(FIGURES[name].labels) for name, labels in ours.items() if labels - set(FIGURES[name].labels)} == {}


def test_ten_thousand_tenants_are_as_many_series_as_were_asked_for(store: Store) -> None:
    for number in range(10_000):
        token = current_identity.set(Identity("u", f"tenant-{number}"))
        metrics.count("rag.answers", 1, {"rag.outcome": "answered", "rag.mode": "hybrid", "rag.degraded": False})
        metrics.count_cost("big", "input", 1000)
        current_identity.reset(token)
    samples = [s for s in shown()["rag_answers"].samples if s.value]
    assert len(samples) == 21
    assert sum(s.value for s in samples) == 10_000
    assert {s.labels["rag_tenant"]: s.value for s in samples}["_other"] == 9_980
    assert value("rag_cost", "_total") == pytest.approx(25)
    assert len(scrape("")[0]) < 100_000


def test_tenants_are_not_told_apart_unless_asked_for() -> None:
    assert start_metrics(settings())
    token = current_identity.set(Identity("u", "secret-tenant"))
    metrics.count("rag.answers", 1, {"rag.outcome": "answered"})
    current_identity.reset(token)
    assert b"secret-tenant" not in scrape("")[0]
    stop_metrics()


@settings_of_hypothesis(max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=10))
def test_whatever_a_program_records_is_shown_in_a_form_that_can_be_read(recorded: list[tuple[str, float]]) -> None:
    kept = Store()
    metrics.begin(kept)
    for text, number in recorded:
        metrics.gauge(f"rag.own{len(text)}", number, {"what": text, "9 odd\nname": 1})
        metrics.record("rag.own.time", number, {"what": text}, unit="ms")
    metrics.begin(None)
    own = [family for family in Families(kept).collect() if family.name.startswith("rag_own")]
    text_of = SimpleNamespace(collect=lambda: own)
    for encoded, read in ((generate_latest(text_of), text_string_to_metric_families), (_openmetrics(text_of), openmetrics_families)):
        families = {family.name: family for family in read(encoded.decode())}
        timed = families.get("rag_own_time_milliseconds", Metric("none", "", "histogram"))  # none below 0 is taken
        assert sum(s.value for s in timed.samples if s.name.endswith("_count")) == sum(number >= 0 for _, number in recorded)


def test_names_and_labels_that_are_one_in_prometheus_stand_once(store: Store) -> None:
    metrics.gauge("rag.queue_depth", 1, {"rag.queue": "own"})
    metrics.count("rag.stage_duration_seconds_count", 1, {})
    metrics.gauge("rag.stage.duration.seconds.count", 1, {})
    metrics.gauge("rag.answers", 1, {})
    metrics.count("rag.own", 2, {"a.b": True, "c": 10**400})
    metrics.count("rag.own", 3, {"a_b": "true", "c": 10**400})
    metrics.gauge("rag.own.large", 10**400, {})
    for accept in ("", OPENMETRICS):
        lines = scrape(accept)[0].decode().splitlines()
        heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
        assert len(heads) == len(set(heads))
        series = [line.split(" ")[0] for line in lines if not line.startswith("#")]
        assert len(series) == len(set(series))
    assert value("rag_own", "_total", a_b="true") == 5


def test_names_that_other_code_makes_up_without_end_come_to_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_door", type(metrics._door)())
    metrics.begin(store)
    for number in range(1000):
        metrics.count(f"rag.of_id_{number}", 1, {})
        metrics.gauge(f"rag.of_id_{number}", 1, {})
    names = [name for name in shown() if name.startswith("rag_of_id")]
    assert len(names) <= metrics.MAX_OWN
    assert value("rag_other", "_total") == 750


def test_a_figure_s_series_are_bounded_and_what_is_beyond_is_added_up() -> None:
    kept, figure = Store(), Figure("rag.own", "counter", "1", "Own.")
    for number in range(MAX_SERIES + 500):
        kept.add(figure, 1.0, (("n", number),))
    ((cells,),) = [[found for f, found in kept.series() if f.name == "rag.own"]]
    assert len(cells) == MAX_SERIES + 1
    assert dict(cells)[("otel.metric.overflow", True),].value == 500


def test_figures_are_recorded_from_several_threads_at_once(store: Store) -> None:
    def work() -> None:
        for _ in range(2000):
            metrics.count("rag.ingest.chunks", 1, {})
            metrics.record("rag.stage.duration", 0.01, {"rag.stage": "embed"})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    scrape(OPENMETRICS)
    for thread in threads:
        thread.join()
    assert value("rag_ingest_chunks", "_total") == 8000
    assert value("rag_stage_duration_seconds", "_count", rag_stage="embed") == 8000


def test_what_is_watched_is_asked_at_each_look_and_forgotten_with_its_owner(store: Store) -> None:
    class Owner:
        depth = 3

    owner, other = Owner(), Owner()
    for each in (owner, other):
        metrics.watch("rag.queue.depth", each, lambda found: [(found.depth, {"rag.queue": "t"})])
    assert value("rag_queue_depth", rag_queue="t") == 6
    owner.depth = 10
    assert value("rag_queue_depth", rag_queue="t") == 13
    del each, other
    assert value("rag_queue_depth", rag_queue="t") == 10
    metrics.watch("rag.queue.depth", owner, lambda found: vars(found)["missing"])
    assert value("rag_queue_depth", rag_queue="t") == 10


def test_a_breaker_that_opens_is_seen_by_part_and_host(store: Store) -> None:
    hosts, single = Breakers(Rules(failures=1)), Breaker(Rules(failures=1))
    watch_breakers("search", "", hosts)
    watch_breakers("rerank", "https://rerank", single)
    hosts.of("https://a").failed(CALL)
    hosts.of("https://b")
    assert value("rag_breaker_state", rag_part="search", rag_hop="https://a", rag_state="open") == 1
    assert value("rag_breaker_state", rag_part="search", rag_state="closed") == 1
    assert value("rag_breaker_state", rag_part="rerank", rag_state="closed") == 1


def test_a_pool_shows_what_is_lent_and_how_much_there_may_be(store: Store) -> None:
    class Pool:
        lent = 2

    pool = Pool()
    metrics.watch_pool("own", pool, lambda found: (found.lent, 1), 5)
    assert value("rag_pool_connections", rag_pool="own", rag_state="used") == 2
    assert value("rag_pool_limit", rag_pool="own") == 5


def test_models_cost_by_their_prices_and_those_without_one_nothing(store: Store) -> None:
    metrics.count_cost("big", "output", 100_000)
    metrics.count_cost("small", "input", 1_000_000)
    metrics.count_cost("small", "output", 1_000_000)
    metrics.count_cost("unknown", "input", 5)
    assert value("rag_cost", "_total") == pytest.approx(1.02)
    answering = prices_of(settings(agent__input_price=1.0, agent__output_price=4.0, chat__model="m", telemetry__prices="n=1"))
    assert (answering["m"].output, answering["n"].input) == (4.0, 1.0)


@pytest.mark.parametrize("entry", ["gpt", "gpt=", "gpt=a/b", "=1", "gpt=1/2/3", "gpt=-1"])
def test_a_price_that_cannot_be_read_is_an_error_of_the_configuration(entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[telemetry\] prices: .* is no price"):
        settings(telemetry__prices=entry)


def test_every_reason_of_a_degraded_answer_has_a_kind() -> None:
    said = {
        "cut_off": [CUT, cut_reason("agent.max_tokens")],
        "steps_ended": [STEPS_ENDED],
        "waiting": [WAITS],
        "unsupported_sentences": [*dropped_reason(1), *dropped_reason(2)],
        "no_tools": [WITHOUT_TOOLS],
        "keyword_only": ["hybrid search failed (unreachable): searched by words alone, not by meaning"],
        "rerank_failed": ["reranking failed (deadline): in the order of the search"],
        "partial_question": ["part 2 of the question has no answer in the documents", "1 of 3 parts of the question could not be searched for (deadline)"],
        "partial_index": ["only a part of the index answered: shard 2"],
        "client_fusion": ["fusion on the server was not possible (x): both legs were fused by the client"],
        "no_room": ["3 passages found had no room in the prompt ([chat] context_window)"],
        "tool_failed": ["the tool search failed (deadline)"],
        "key_fallback": [fallback_reason(RagError("x"))],
        "condense_failed": ["condensing the question failed (model): done by rules"],
        "summary_failed": ["summarising the conversation failed (model): its oldest turns were left out"],
    }
    assert {kind: {kind_of(reason) for reason in reasons} for kind, reasons in said.items()} == {kind: {kind} for kind in said}
    assert set(said) == {kind for kind, _ in REASONS}
    page = (ROOT / "docs" / "runbooks" / "RagAnswersDegraded.md").read_text(encoding="utf-8")
    assert [kind for kind in said if f"`{kind}`" not in page] == []
    assert kind_of("something new") == OTHER
    assert len({kind for kind, _ in REASONS}) == len(REASONS)


def test_turns_are_counted_by_how_they_end(store: Store) -> None:
    turns = Turns()
    with turns.one("hybrid") as ended:
        assert value("rag_chats_active") == 1
        ended(Answer("t", "m", "Yes [1].", degraded=("3 sentences without support were left out",)))
    with turns.one("bm25") as ended:
        ended(Answer("t", "m", "", refused=True))
    with pytest.raises(GeneratorExit), turns.one("knn"):
        raise GeneratorExit
    with pytest.raises(OSError, match="disk"), turns.one("knn"):
        raise OSError("disk")
    with pytest.raises(NotFoundError), turns.one("knn"):
        raise NotFoundError("no such thread")
    assert value("rag_answers", "_total", rag_outcome="rejected", error_type="not-found") == 1
    assert value("rag_chats_active") == 0
    assert value("rag_answers", "_total", rag_outcome="answered", rag_degraded="true", rag_mode="hybrid") == 1
    assert value("rag_answers", "_total", rag_outcome="refused") == 1
    assert value("rag_answers", "_total", rag_outcome="cancelled") == 1
    assert value("rag_answers", "_total", rag_outcome="failed", error_type="OSError") == 1
    assert value("rag_answer_degraded", "_total", rag_reason="unsupported_sentences") == 1


def test_what_a_command_counted_is_shown_by_one_server_and_added_up(tmp_path: Path) -> None:
    chosen = settings(storage__path=str(tmp_path))
    for documents in (2, 3):
        with counted(chosen):
            metrics.count("rag.ingest.documents", documents, {"rag.outcome": "added"})
            metrics.record("rag.stage.duration", 0.02, {"rag.stage": "ingest.write"})
            metrics.gauge("rag.ingest.ended.timestamp", 1000.0 + documents, {})
            metrics.count("rag.own", 1, {})
    assert start_metrics(chosen)
    metrics.count("rag.ingest.documents", 10, {"rag.outcome": "added"})
    metrics.gauge("rag.ingest.ended.timestamp", 500.0, {})
    mine = CommandFigures(tmp_path).mine()
    families = shown(more=mine)
    stop_metrics()
    assert [s.value for s in families["rag_ingest_documents"].samples if s.value] == [15]
    assert [s.value for s in families["rag_ingest_ended_timestamp_seconds"].samples] == [1003]
    assert [s.value for s in families["rag_stage_duration_seconds"].samples if s.name.endswith("_count")] == [2]
    assert "rag_own" not in families
    other = "import pathlib, sys; from src.infra.metrics_commands import CommandFigures; sys.exit(len(CommandFigures(pathlib.Path(sys.argv[1])).mine()))"
    assert len(mine) == 1
    assert subprocess.run([sys.executable, "-c", other, str(tmp_path)], cwd=ROOT, check=False).returncode == 0, "a second server on the folder shows them, too"


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"version": 1}', '{"version": 1, "series": [1]}', '{"version": 9, "series": []}', '{"version":1,"series":[["rag.ingest.chunks",[],"x",[]]]}'],
)
def test_a_broken_file_of_commands_figures_is_begun_anew(tmp_path: Path, text: str) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / FILE).write_text(text, encoding="utf-8")
    CommandFigures(tmp_path).mine()
    with counted(settings(storage__path=str(tmp_path))):
        metrics.count("rag.ingest.chunks", 4, {})
    assert ["rag.ingest.chunks", [], 4.0, []] in json.loads((folder / FILE).read_text(encoding="utf-8"))["series"]


def test_a_folder_that_cannot_be_written_stops_no_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with counted(settings(storage__path=str(tmp_path / "file"))):
        metrics.count("rag.ingest.chunks", 4, {})
    assert current_store() is None


def test_switched_off_nothing_is_counted() -> None:
    assert not start_metrics(settings(telemetry__metrics="false"))
    metrics.count("rag.ingest.chunks", 1, {})
    assert current_store() is None


def ask(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_a_listener_of_its_own_shows_figures_and_nothing_else() -> None:
    listener = MetricsListener(lambda accept, zipped: (f"{accept} {zipped}".encode(), {"Content-Type": "text/plain"}), "127.0.0.1", 0)
    listener.start()
    try:
        assert ask(listener.url, Accept="a/b")[1] == b"a/b False"
        assert ask(listener.url, **{"Accept": "x", "Accept-Encoding": "br, gzip;q=1"})[1] == b"x True"
        assert ask(listener.url.replace("/metrics", "/v1/search"))[0] == 404
        taken = MetricsListener(lambda accept, zipped: (b"", {}), "127.0.0.1", int(listener.url.split(":")[2].split("/")[0]))
        with pytest.raises(ConfigurationError, match=r"metrics_port"):
            taken.start()
    finally:
        listener.close()
    listener.close()


def test_a_listener_with_a_token_asks_for_it() -> None:
    listener = MetricsListener(lambda accept, zipped: (b"x", {}), "127.0.0.1", 0, SecretStr("t0ken-é"))
    listener.start()
    try:
        assert ask(listener.url)[0] == 401
        assert ask(listener.url, Authorization="Bearer wrong")[0] == 401
        assert ask(listener.url, Authorization="Basic t0ken")[0] == 401
    finally:
        listener.close()


def test_the_committed_page_is_current() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "generate_metrics.py"))["render"]()
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page, "run docs/generate_metrics.py"
