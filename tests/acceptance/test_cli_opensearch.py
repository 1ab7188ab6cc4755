"""`[search] host` is all that it takes: the commands and the API on a real cluster, and `rag index` as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import RAG, clean_environment
from tests.acceptance.conftest import rag as run
from tests.servers.faults import FaultProxy, HalfOpen
from tests.servers.opensearch.cluster import Cluster

HOURS = "How many days of annual leave do employees get?"
HEEDING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.execv(sys.argv[1], sys.argv[1:])"
"""Starts a command that heeds Ctrl-C although a shell put this test into the background."""


def write_config(folder: Path, cache: Path, host: str, alias: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.ini"
    search = f"[search]\nhost = {host}\nindex_alias = {alias}\ntimeout_s = 30\n" if host else ""
    path.write_text(f"{search}[storage]\npath = {folder / 'data'}\n[cache]\npath = {cache}\n[logging]\nlevel = WARNING\n", encoding="utf-8")
    return path


class Rag:
    """`rag` with one configuration."""

    def __init__(self, config: Path, alias: str) -> None:
        self.config = config
        self.alias = alias

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "--config", self.config, cwd=self.config.parent)

    def json(self, *arguments: str | Path) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def error(self, *arguments: str | Path, code: int = 1) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, (done.stdout, done.stderr)
        return dict(json.loads(done.stderr.splitlines()[-1])["error"])

    def versions(self) -> dict[str, str]:
        return {row["name"].removeprefix(f"{self.alias}-"): row["state"] for row in self.json("index", "list")["versions"]}


@pytest.fixture
def make(opensearch: Cluster, index_prefix: str, tmp_path: Path, model_cache: Path) -> Callable[..., Rag]:
    def one(alias: str = "docs", *, host: bool = True) -> Rag:
        name = f"{index_prefix}{alias}"
        return Rag(write_config(tmp_path / alias, model_cache, opensearch.url if host else "", name), name)

    return one


@pytest.fixture
def cli(make: Callable[..., Rag]) -> Rag:
    return make()


@pytest.fixture
def hr(root: Path) -> Path:
    """Five documents of the sample handbook."""
    return root / "examples" / "handbook" / "hr"


@pytest.mark.long  # docs/opensearch.md's walk, which always runs, has most of it
def test_a_host_is_all_that_it_takes_to_ingest_search_and_ask(cli: Rag, hr: Path) -> None:
    missing = cli.error("search", "annual leave")
    assert missing["code"] == "index-missing"
    assert "rag ingest" in missing["hint"]
    assert cli.json("ingest", hr)["added"] == 5
    assert cli.json("ingest", hr)["unchanged"] == 5
    for mode in ("bm25", "knn", "hybrid"):
        found = cli.json("search", "annual leave", "--mode", mode)
        assert found["hits"][0]["source"].endswith("leave-policy.docx")
        assert not found["degraded"]
    answer = cli.json("ask", HOURS)
    assert "26 days" in answer["answer"]
    assert answer["citations"]
    info = cli.json("index", "info")
    assert (info["documents"], info["engine"], info["index"]) == (5, "opensearch", f"{cli.alias}-000001")
    assert info["views"] == {"lexical": info["chunks"], "vector": info["chunks"]}


@pytest.mark.long  # docs/opensearch.md's walk, which always runs, has most of it
def test_versions_are_listed_reindexed_switched_and_deleted(cli: Rag, hr: Path) -> None:
    cli.json("ingest", hr)
    done = cli.json("index", "reindex")
    assert (done["source"], done["target"]) == (f"{cli.alias}-000001", f"{cli.alias}-000002")
    assert done["checks"]["documents"] == 5
    assert min(done["checks"]["agreement"].values()) > 0.9
    assert cli.versions() == {"000001": "kept", "000002": "in use"}
    assert cli.json("index", "rollback") == {"alias": cli.alias, "before": f"{cli.alias}-000002", "after": f"{cli.alias}-000001"}
    assert cli.error("index", "rollback")["code"] == "not-found"
    assert cli.json("index", "switch", "2")["after"] == f"{cli.alias}-000002"
    assert cli.json("search", "annual leave")["hits"]
    assert cli.json("index", "create")["current"] is False
    assert cli.versions() == {"000001": "kept", "000002": "in use", "000003": "kept"}
    assert cli.error("index", "delete", "2", "--yes")["code"] == "conflict"
    unasked = cli.run("index", "delete", "3")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert cli.json("index", "delete", "3", "--yes") == {"deleted": f"{cli.alias}-000003"}
    assert cli.error("index", "switch", "3")["code"] == "not-found"
    assert cli.versions() == {"000001": "kept", "000002": "in use"}


def test_create_makes_the_first_index_and_puts_it_to_use(cli: Rag) -> None:
    assert cli.versions() == {}
    made = cli.json("index", "create")
    assert (made["index"], made["current"]) == (f"{cli.alias}-000001", True)
    assert made["memory_bytes"]["1000000"] > 10**9
    assert cli.json("search", "anything")["hits"] == []


@pytest.mark.long
def test_a_rebuild_serves_the_old_index_until_it_is_done(cli: Rag, hr: Path, tmp_path: Path) -> None:
    cli.json("ingest", hr)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    assert cli.error("ingest", "--rebuild", empty)["code"] == "bad-input"
    assert cli.versions() == {"000001": "in use"}
    page = tmp_path / "one.md"
    page.write_text("# Fizzlewick\n\nThe fizzlewick is polished on Mondays.\n")
    cli.json("ingest", "--rebuild", page)
    assert cli.versions() == {"000001": "kept", "000002": "in use"}
    assert cli.json("index", "info")["documents"] == 1
    assert cli.json("search", "fizzlewick", "--mode", "bm25")["hits"]
    cli.json("index", "rollback")
    assert cli.json("index", "info")["documents"] == 5


@pytest.mark.long  # `reindex`, below, ends by the same code
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_rebuild_that_is_interrupted_says_that_the_index_in_use_is_unchanged(cli: Rag, hr: Path, root: Path, told: signal.Signals) -> None:
    cli.json("ingest", hr)
    command = [sys.executable, "-c", HEEDING, RAG, "ingest", "--rebuild", str(root / "examples" / "handbook"), "--config", str(cli.config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())
    assert process.stderr is not None
    assert "stored" in process.stderr.readline()
    process.send_signal(told)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.startswith("the rebuild was given up; the index in use is unchanged")
    assert "added" not in output
    assert "is in the index" not in output
    assert cli.versions() == {"000001": "in use"}
    assert cli.json("index", "info")["documents"] == 5


@pytest.mark.parametrize("told", [pytest.param(signal.SIGINT, id="ctrl-c", marks=pytest.mark.long), pytest.param(signal.SIGTERM, id="sigterm")])
def test_a_reindex_that_is_interrupted_ends_at_once_and_goes_on_when_run_again(cli: Rag, hr: Path, opensearch: Cluster, told: signal.Signals) -> None:
    cli.json("ingest", hr)
    with FaultProxy(opensearch.url).running() as proxy, proxy.fault(HalfOpen(path="_bulk")):
        slow = write_config(cli.config.parent / "slow", cli.config.parent / "no-cache", proxy.url, cli.alias)
        process = subprocess.Popen([sys.executable, "-c", HEEDING, RAG, "index", "reindex", "--config", str(slow)], stderr=subprocess.PIPE, text=True)
        while not proxy.seen("_bulk"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(told)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert cli.versions() == {"000001": "in use", "000002": "unfinished"}
    done = cli.json("index", "reindex")
    assert (done["target"], done["resumed"], done["checks"]["documents"]) == (f"{cli.alias}-000002", True, 5)


@pytest.mark.long
def test_a_rebuild_that_is_killed_leaves_the_old_index_in_use(cli: Rag, hr: Path, root: Path) -> None:
    cli.json("ingest", hr)
    command = [RAG, "ingest", "--rebuild", str(root / "examples" / "handbook"), "--json", "--config", str(cli.config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment())
    assert process.stderr is not None
    assert "stored" in process.stderr.readline()  # it is in the middle of it
    process.kill()
    process.communicate()
    assert cli.versions() == {"000001": "in use", "000002": "unfinished"}
    assert cli.json("index", "info")["documents"] == 5
    cli.json("ingest", "--rebuild", hr)
    assert cli.versions() == {"000001": "kept", "000003": "in use"}


@pytest.mark.long  # docs/opensearch.md's walk, which always runs, has most of it
def test_a_corpus_moves_between_the_engines_with_its_vectors(make: Callable[..., Rag], opensearch: Cluster, hr: Path, tmp_path: Path) -> None:
    embedded = make("embedded", host=False)
    embedded.json("ingest", hr)
    before = embedded.json("search", "annual leave")["hits"]
    with embedded.config.open("a", encoding="utf-8") as file:
        file.write(f"[search]\nhost = {opensearch.url}\nindex_alias = {embedded.alias}\ntimeout_s = 30\n")
    both = embedded
    chunks = both.json("index", "copy", "--from", "embedded", "--to", "opensearch")["chunks"]
    assert chunks > 5
    assert both.versions() == {"000001": "in use"}
    after = both.json("search", "annual leave")["hits"]
    assert [hit["chunk_id"] for hit in after[:3]] == [hit["chunk_id"] for hit in before[:3]]
    assert both.json("ingest", hr)["unchanged"] == 5
    page = tmp_path / "one.md"
    page.write_text("# Fizzlewick\n\nThe fizzlewick is polished on Mondays.\n")
    both.json("ingest", page)
    assert both.json("index", "copy", "--from", "embedded", "--to", "opensearch", "--mirror")["deleted"] == 1
    both.json("ingest", page)
    assert both.json("index", "copy", "--from", "opensearch", "--to", "embedded")["documents"] == 6
    assert both.run("index", "copy", "--from", "embedded", "--to", "embedded").returncode == 2


def test_the_embedded_engine_says_what_it_has_instead_of_versions(make: Callable[..., Rag]) -> None:
    cli = make("plain", host=False)
    for command in (["list"], ["create"], ["reindex"], ["switch", "1"], ["rollback"], ["delete", "1", "--yes"]):
        error = cli.error("index", *command, code=2)
        assert error["code"] == "unsupported-feature"
        assert "--rebuild" in error["hint"]
    assert cli.error("index", "copy", "--from", "embedded", "--to", "opensearch", code=2)["setting"] == "search.host"


def test_documents_come_and_go_through_the_api(cli: Rag, hr: Path, serve: Callable[..., Any], tmp_path: Path, opensearch: Cluster) -> None:
    cli.json("ingest", hr)
    folder = tmp_path / "server"
    folder.mkdir()
    with serve(folder, more=f"[search]\nhost = {opensearch.url}\nindex_alias = {cli.alias}\ntimeout_s = 30\n") as server, server.client() as client:
        assert "26 days" in client.post("/v1/chat", json={"message": HOURS}).json()["answer"]
        response = client.post("/v1/documents", files={"files": ("v.txt", b"The fizzlewick is polished on Mondays.")})
        assert response.status_code in {200, 201}, response.text
        found = client.post("/v1/search", json={"query": "fizzlewick", "mode": "bm25"}).json()["hits"]
        assert [hit["document_id"] for hit in found] == ["v.txt"]
        assert client.delete("/v1/documents/v.txt").status_code < 300
        assert client.post("/v1/search", json={"query": "fizzlewick", "mode": "bm25"}).json()["hits"] == []
        assert client.get("/health").json()["status"] == "healthy"
    assert cli.json("index", "info")["documents"] == 5


@pytest.fixture
def evaluations(opensearch: Cluster) -> Iterator[Callable[[], set[str]]]:
    """Evaluation indices that the test makes; they have names of their own, and go at its end."""

    def names() -> set[str]:
        return {row["index"] for row in opensearch.ask("GET", "_cat/indices/rag-eval-*?format=json&h=index")}

    before = names()
    yield lambda: names() - before
    for name in names() - before:
        opensearch.request("DELETE", name)


@pytest.mark.long
def test_an_evaluation_leaves_the_index_in_use_alone(cli: Rag, hr: Path, tmp_path: Path, evaluations: Callable[[], set[str]]) -> None:
    cli.json("ingest", hr)
    data = tmp_path / "tiny"
    (data / "qrels").mkdir(parents=True)
    texts = {"a": f"Employees of {cli.alias} receive paid leave.", "b": "Report a power cut by telephone.", "c": "Read the gas meter."}
    (data / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "paid leave"}))
    (data / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    for _ in range(2):
        report = cli.json("eval", "--data", data, "--split", "dev", "--mode", "hybrid")
        assert (report["documents"], report["ndcg@10"]) == (3, 1.0)
    (made,) = evaluations()
    assert made.startswith("rag-eval-")
    assert cli.json("index", "info")["documents"] == 5
