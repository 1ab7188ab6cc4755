"""Intent rules as an operator writes them: `rag search` and `POST /v1/search` tell which one applied and what it changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import rag, serving, write_config

RULES = """\
[logging]
level = WARNING
[intent:procedure]
examples =
    how do I
    what are the steps to
boosts = kind=procedure ^3
[intent:form]
pattern = \\bform [a-z]?\\d+\\b
mode = bm25
filters = kind=form
"""
PAGES = {
    "about.md": "---\nkind: article\n---\n# Meter readings\n\nA meter reading is read from the meter. I read how a meter is read: how do meters read?\n",
    "steps.md": "---\nkind: procedure\n---\n# Reading\n\nGo to the meter and note the digits.\n",
    "form.md": "---\nkind: form\n---\n# Form M12\n\nRequest for a meter reading.\n",
}
INTENT = {"name": "procedure", "matched": "how do I", "fit": 1.0, "filters": [], "boosts": ["kind=procedure ^3"], "boosted": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Path:
    """A data folder with three pages, and the configuration beside it."""
    place = tmp_path_factory.mktemp("intents")
    (place / "pages").mkdir()
    for name, text in PAGES.items():
        (place / "pages" / name).write_text(text)
    write_config(place, {}, f"[cache]\npath = {model_cache}\n{RULES}")
    done = rag("ingest", place / "pages", cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def test_search_prefers_what_the_rule_prefers_and_says_so(folder: Path) -> None:
    found = json.loads(rag("search", "how do I read the meter", "--json", cwd=folder).stdout)
    assert found["hits"][0]["source"].endswith("steps.md")
    assert found["intent"] == INTENT
    assert "intent" not in json.loads(rag("search", "meter reading", "--json", cwd=folder).stdout)
    shown = rag("search", "how do I read the meter", cwd=folder)
    assert "intent: procedure (how do I): prefers kind=procedure ^3" in shown.stderr


def test_a_rule_may_filter_and_choose_the_mode(folder: Path) -> None:
    found = json.loads(rag("search", "where is form M12 about the meter", "--json", cwd=folder).stdout)
    assert found["mode"] == "bm25"
    assert [hit["source"].rsplit("/", 1)[1] for hit in found["hits"]] == ["form.md"]
    assert (found["intent"]["mode"], found["intent"]["filters"]) == ("bm25", ["kind=form"])
    own = json.loads(rag("search", "where is form M12 about the meter", "--mode", "knn", "--filter", "kind=article", "--json", cwd=folder).stdout)
    assert (own["mode"], own["intent"]["filters"]) == ("knn", [])
    assert "mode" not in own["intent"]


@pytest.mark.long
def test_the_api_answers_the_same(folder: Path, model_cache: Path) -> None:
    with serving(folder, more=f"[cache]\npath = {model_cache}\n{RULES}") as server, server.client() as client:
        answer = client.post("/v1/search", json={"query": "how do I read the meter"})
        assert answer.json()["intent"] == INTENT
        assert "intent" not in client.post("/v1/search", json={"query": "meter reading"}).json()


def test_a_rule_that_cannot_be_used_is_found_before_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[intent:a]\npattern = (\nmode = knn\n")
    done = rag("config", "validate", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{path}:2: [intent:a] pattern: is no regular expression" in done.stdout
    assert rag("search", "x", cwd=tmp_path).returncode == 2
