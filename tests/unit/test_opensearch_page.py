"""What docs/opensearch.md says in tables and lists is what the code does; its walk is executed by tests/acceptance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from src import errors
from src.infra.configuring.schema import find
from src.infra.search_config import LANGUAGES, SIZES, memory_estimate, vector_bytes
from src.infra.settings import load_settings
from src.retrieval.intents import compile_rules


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).resolve().parents[2] / "docs" / "opensearch.md").read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading, backticks taken off; the first table's rows only."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not re.fullmatch(r"[|\-]+", line)]


def test_every_language_is_listed(page: str) -> None:
    section = page.split("\n## Languages\n")[1].split("\n## ")[0]
    listed = section.split("One of\n")[1].split(", or `")[0]
    assert {word.strip() for word in listed.split(",")} | {"unstemmed"} == set(LANGUAGES)
    assert "`unstemmed`" in section


def test_sizes_are_those_of_new_indices(page: str) -> None:
    table = {cells[0].strip("`"): cells[2:] for cells in rows(page, "Sizes and memory") if cells[0].strip("`") in SIZES}
    assert table == {name: [str(size.shards), size.engine, str(size.ef_construction), size.refresh_interval.replace("s", " s")] for name, size in SIZES.items()}


def test_memory_is_that_of_the_formula(page: str) -> None:
    table = [cells for cells in rows(page, "Sizes and memory") if cells[0].isdigit()]
    assert len(table) == 5
    for dims, each, *totals in table:
        assert each == f"{vector_bytes(int(dims)):,.0f}"
        estimates = [memory_estimate(10**power, dims=int(dims), replicas=1) / 2**30 for power in (5, 6, 7, 8)]
        assert totals == [f"{value:,.1f}" for value in estimates]


def test_errors_are_classes_with_their_codes(page: str) -> None:
    table = rows(page, "Errors")[1:]
    assert [(name, code) for name, code, *_ in table] == [(name, f"`{getattr(errors, name.strip('`')).code}`") for name, *_ in table]


def test_keys_and_reasons_are_those_of_the_code(page: str, root: Path) -> None:
    keys = set(re.findall(r"`((?:search|retrieval|network)\.[a-z_]+)`", page))
    assert [key for key in keys if find(key) is None] == []
    sources = "".join(path.read_text(encoding="utf-8") for path in (root / "src").rglob("*.py"))
    for reason, *_ in rows(page, "What `degraded` says")[1:]:
        for part in re.split(r"\(…\)|…", reason.strip("`")):
            assert part.strip(" :") in sources, reason


@pytest.mark.parametrize("name", ["opensearch.md", "configuration.md"])
def test_configurations_that_are_shown_load_as_they_stand(root: Path, tmp_path: Path, name: str) -> None:
    shown = re.findall(r"^```ini\n(.*?)^```$", (root / "docs" / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert shown
    for text in (text for text in shown if text.startswith("[")):
        path = tmp_path / "config.ini"
        path.write_text(text, encoding="utf-8")
        variables = dict.fromkeys(re.findall(r"\$\{([A-Z_]+)\}", text), "value")
        compile_rules(load_settings(path, environ=variables).intents)
