"""The walk of docs/opensearch.md on a fresh cluster, typed as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import clean_environment
from tests.servers.opensearch.cluster import Cluster

PRINTED = "http://127.0.0.1:9201"
"""Where `make opensearch` serves; the test's cluster has another port."""


def blocks(root: Path) -> list[str]:
    """The fenced commands of the walk, in order."""
    page = (root / "docs" / "opensearch.md").read_text(encoding="utf-8")
    walk = page.split("\n## A walk on a fresh cluster\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", walk, re.DOTALL | re.MULTILINE)


def test_the_first_command_starts_what_the_second_asks_for(root: Path) -> None:
    first, second, *_ = blocks(root)
    assert first == "make opensearch\n"
    assert f"host = {PRINTED}\n" in second
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^opensearch:", makefile, re.MULTILINE)
    assert f"PORT ?= {PRINTED.rsplit(':', 1)[1]}\n" in makefile


@pytest.fixture
def folder(tmp_path: Path, root: Path, model_cache: Path) -> Path:
    """A checkout as the walk sees it: the samples, an environment, and nothing of the developer's."""
    (tmp_path / "examples").symlink_to(root / "examples")
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path


@pytest.fixture
def no_evaluation_index_left(opensearch: Cluster) -> Iterator[None]:
    """`rag eval` keeps its index under a name of its own, which no prefix covers."""
    before = evaluation_indices(opensearch)
    yield
    for name in evaluation_indices(opensearch) - before:
        opensearch.request("DELETE", name)


def evaluation_indices(cluster: Cluster) -> set[str]:
    return {row["index"] for row in cluster.ask("GET", "_cat/indices/rag-eval-*?format=json&h=index")}


@pytest.mark.usefixtures("no_evaluation_index_left")
def test_the_walk_works_word_for_word(root: Path, folder: Path, opensearch: Cluster, index_prefix: str, model_cache: Path) -> None:
    _, *rest = blocks(root)
    # Only what the machine decides is replaced: where the cluster is, and a name that no other test uses.
    script = "\n".join(rest).replace(PRINTED, opensearch.url).replace("handbook-0", f"{index_prefix}handbook-0")
    script = script.replace("index_alias = handbook", f"index_alias = {index_prefix}handbook")
    environment = clean_environment() | {"RAG_CACHE__PATH": str(model_cache), "RAG_LOGGING__LEVEL": "WARNING"}
    environment["PATH"] = os.environ["PATH"]
    (folder / "walk.sh").write_text(script, encoding="utf-8")
    command = ["bash", "-euxo", "pipefail", "walk.sh"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    assert f"{index_prefix}handbook-000002" in done.stdout
