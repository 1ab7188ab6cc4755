"""`rag eval` as it is typed, on a small collection of its own and on the open data where that is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RAG = str(Path(sys.executable).parent / "rag")
DOCUMENTS = {"a": "Employees receive paid leave.", "b": "Report a power cut by telephone.", "c": "Read the digits of the gas meter."}
KEYS = {"dataset", "split", "mode", "documents", "queries", "ndcg@10", "recall@100", "mrr@10", "latency_ms", "index_s"}
GOALS = {"cranfield": 0.583, "mtrag-un-pooled": 0.833, "scifact": 0.735}
"""Hybrid nDCG@10 that issue 3 asks for."""


def rag(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAG_") and name != "CLOUD_PROFILE"}
    return subprocess.run([RAG, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=900, env=environment)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": key, "title": "", "text": text}) for key, text in DOCUMENTS.items()))
    history = [{"speaker": "user", "text": "Tell me about the gas meter."}]
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "paid leave", "metadata": {"history": history}}))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    return folder


@pytest.fixture
def config(tmp_path: Path, model_cache: Path) -> Path:
    """A cache folder of its own that borrows the prepared model."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "models").symlink_to(model_cache / "models")
    path = tmp_path / "config.ini"
    path.write_text(f"[cache]\npath = {cache}\n[storage]\npath = {tmp_path / 'data'}\n[logging]\nlevel = WARNING\n")
    return path


def test_json_has_the_fixed_keys_and_the_metrics_asked_for(collection: Path, config: Path, tmp_path: Path) -> None:
    arguments = ["eval", "--data", collection, "--split", "dev", "--mode", "bm25", "--json", "--config", config]
    report = json.loads(rag(*arguments, cwd=tmp_path).stdout)
    assert report.keys() == KEYS
    assert (report["dataset"], report["split"], report["mode"], report["documents"], report["queries"]) == ("tiny", "dev", "bm25", 3, 1)
    assert report["ndcg@10"] == report["mrr@10"] == report["recall@100"] == 1.0
    assert report["latency_ms"].keys() == {"p50", "p95"}
    more = json.loads(rag(*arguments, "--metrics", "recall@2,success@1", cwd=tmp_path).stdout)
    assert more.keys() == KEYS | {"recall@2", "success@1"}


def test_the_index_lies_in_the_cache_folder_and_nowhere_else(collection: Path, config: Path, tmp_path: Path) -> None:
    done = rag("eval", "--data", collection, "--split", "dev", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ndcg@10 1.0000" in done.stdout
    assert sorted(path.name for path in collection.iterdir()) == ["corpus.jsonl", "qrels", "queries.jsonl"]
    assert not (tmp_path / "data").exists()
    assert list((tmp_path / "cache" / "eval").iterdir())


def test_history_changes_what_is_asked(collection: Path, config: Path, tmp_path: Path) -> None:
    arguments = ["eval", "--data", collection, "--split", "dev", "--mode", "bm25", "--json", "--config", config]
    assert json.loads(rag(*arguments, "--history", cwd=tmp_path).stdout)["mrr@10"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--split", "test"], 1, "dev"),
        (["--split", "dev", "--metrics", "bleu@4"], 1, "ndcg"),
        (["--split", "dev", "--mode", "fuzzy"], 2, "hybrid"),
        ([], 2, "--split"),
    ],
)
def test_what_cannot_be_measured_is_explained(collection: Path, config: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = rag("eval", "--data", collection, *arguments, "--config", config, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr


def test_a_broken_corpus_names_its_line(collection: Path, config: Path, tmp_path: Path) -> None:
    (collection / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\nnonsense\n')
    done = rag("eval", "--data", collection, "--split", "dev", "--config", config, "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "corpus.jsonl, line 2" in json.loads(done.stderr)["error"]["message"]


LONG = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("name", "split"),
    [pytest.param("cranfield", "dev", marks=LONG), pytest.param("mtrag-un-pooled", "dev", marks=LONG), pytest.param("scifact", "train", marks=LONG)],
)
def test_hybrid_search_reaches_the_goal_on_open_data(shared_data: Path, model_cache: Path, tmp_path: Path, name: str, split: str) -> None:
    config = tmp_path / "config.ini"
    config.write_text(f"[cache]\npath = {model_cache}\n[logging]\nlevel = WARNING\n")
    done = rag("eval", "--data", shared_data / name, "--split", split, "--mode", "hybrid", "--json", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ndcg@10"] >= GOALS[name]
