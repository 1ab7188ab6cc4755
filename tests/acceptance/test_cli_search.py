"""`rag search` and `rag index info` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RAG = str(Path(sys.executable).parent / "rag")
PAGES = {
    "leave.md": "# Leave\n\n## Annual leave\n\nEmployees receive twenty-five days of paid annual leave each year.\n",
    "outage.md": "# Power cuts\n\nReport a power cut on the emergency line, which is staffed day and night.\n",
    "meter.txt": "Read the digits of your gas meter from left to right.\n",
}


def rag(*arguments: str | Path, config: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAG_") and name != "CLOUD_PROFILE"}
    command = [RAG, *map(str, arguments), "--config", str(config)]
    return subprocess.run(command, cwd=config.parent, capture_output=True, text=True, check=False, timeout=120, env=environment)


def write_config(folder: Path, cache: Path) -> Path:
    path = folder / "config.ini"
    path.write_text(f"[storage]\npath = {folder / 'data'}\n[cache]\npath = {cache}\n[logging]\nlevel = WARNING\n")
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Path:
    """A configuration whose index holds the three pages."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "pages").mkdir()
    for name, text in PAGES.items():
        (folder / "pages" / name).write_text(text)
    path = write_config(folder, model_cache)
    done = rag("ingest", folder / "pages", config=path)
    assert done.returncode == 0, done.stderr
    return path


def hits(config: Path, *arguments: str) -> list[dict[str, Any]]:
    done = rag("search", *arguments, "--json", config=config)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["hits"]
    return found


def test_the_words_of_a_query_need_no_quotes_and_json_has_the_shape_of_the_api(config: Path) -> None:
    done = rag("search", "how", "much", "paid", "holiday", "--top-k", "2", "--json", config=config)
    answer = json.loads(done.stdout)
    assert (answer["mode"], answer["degraded"], len(answer["hits"])) == ("hybrid", [], 2)
    assert isinstance(answer["took_ms"], int | float)
    best = answer["hits"][0]
    assert best["source"].endswith("leave.md")
    assert {"chunk_id", "document_id", "title", "text", "source", "section", "score", "legs"} <= best.keys()
    assert best["legs"].keys() == {"bm25", "knn"}


@pytest.mark.parametrize(("mode", "legs"), [("bm25", {"bm25"}), ("knn", {"knn"})])
def test_a_mode_shows_its_own_leg(config: Path, mode: str, legs: set[str]) -> None:
    found = hits(config, "gas meter", "--mode", mode)
    assert found[0]["source"].endswith("meter.txt")
    assert found[0]["legs"].keys() == legs


def test_filters_narrow_and_join(config: Path) -> None:
    assert {Path(hit["source"]).name for hit in hits(config, "read", "--filter", "content_type=text/markdown")} == {"leave.md", "outage.md"}
    assert hits(config, "read", "--filter", "content_type=text/markdown", "--filter", "content_type=text/plain") == []


def test_another_tenant_sees_nothing(config: Path) -> None:
    assert hits(config, "gas meter", "--tenant", "other") == []


def test_a_person_reads_title_section_scores_and_text(config: Path) -> None:
    done = rag("search", "annual leave", config=config)
    assert done.returncode == 0
    assert "twenty-five days" in done.stdout
    assert "bm25" in done.stdout
    assert "leave.md" in done.stdout


@pytest.mark.parametrize("arguments", [["x", "--filter", "page>="], ["x", "--filter", "a!=b"]])
def test_a_malformed_filter_fails_and_says_what_is_allowed(config: Path, arguments: list[str]) -> None:
    done = rag("search", *arguments, "--json", config=config)
    assert done.returncode == 1
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "bad-filter"
    assert "field=value" in error["hint"]


@pytest.mark.parametrize("arguments", [[], ["x", "--mode", "fuzzy"], ["x", "--top-k", "0"]])
def test_a_call_that_cannot_be_understood_is_a_usage_error(config: Path, arguments: list[str]) -> None:
    assert rag("search", *arguments, config=config).returncode == 2


def test_an_empty_index_says_what_to_do(tmp_path: Path, model_cache: Path) -> None:
    done = rag("search", "anything", config=write_config(tmp_path, model_cache))
    assert done.returncode == 0
    assert "rag ingest" in done.stderr
    assert not (tmp_path / "data").exists()


def test_index_info_counts_each_view(config: Path) -> None:
    done = rag("index", "info", "--json", config=config)
    info = json.loads(done.stdout)
    assert info.keys() == {"documents", "chunks", "views", "engine", "embedder", "version"}
    assert info["documents"] == 3
    assert info["views"] == {"lexical": info["chunks"], "vector": info["chunks"]}
    assert info["engine"] == "embedded"
    assert "documents  3" in rag("index", "info", config=config).stdout
