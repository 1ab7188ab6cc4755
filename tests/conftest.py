"""Fixtures that every kind of test shares."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.servers.fixtures import index_prefix, opensearch, opensearch_knn_only, opensearch_node, opensearch_plain, opensearch_secured
from tests.servers.postgres_fixtures import pgbouncer, postgres, postgres_15, postgres_node

__all__ = [
    "index_prefix",
    "opensearch",
    "opensearch_knn_only",
    "opensearch_node",
    "opensearch_plain",
    "opensearch_secured",
    "pgbouncer",
    "postgres",
    "postgres_15",
    "postgres_node",
]

ROOT = Path(__file__).resolve().parent.parent

# No assertion on a clock: an example that takes 10 ms takes 400 beside a server that starts.
hypothesis.settings.register_profile("rag", deadline=None)
hypothesis.settings.register_profile("sampled", deadline=None, max_examples=30)
hypothesis.settings.load_profile("rag")

SERVERS = frozenset(
    {
        "handbook_server",
        "opensearch",
        "opensearch_node",
        "opensearch_knn_only",
        "opensearch_plain",
        "opensearch_secured",
        "postgres",
        "postgres_15",
        "pgbouncer",
    }
)
"""Fixtures that start a server."""
FIRST = frozenset({"test_telemetry_soak.py"})
"""Takes ten minutes of `make test-long`, and hardly a processor: whatever else runs, runs beside it."""
KINDS = ("acceptance", "integration", "contract", "unit")
"""Folders of tests, those of the slowest first."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Which tests are properties, and which stay together when `make test` runs them in several processes: those of a file, which share its fixtures, and
    those of a server, so that no more than two are started of the one that most tests ask for. What takes long begins first."""
    order: dict[pytest.Item, tuple[bool, bool, int]] = {}
    for item in items:
        # By fixture, or by the parameter that has a fixture asked for it while the test runs.
        servers = SERVERS.intersection(getattr(item, "fixturenames", ())) | SERVERS.intersection(re.split(r"[\[\]-]", item.name))
        place = item.path.relative_to(ROOT)
        server = min(servers - {"handbook_server"} or servers, default="")
        # The secured one takes longest to start and few ask for it: once.
        group = server if server == "opensearch_secured" else f"{server} {place.parts[1] == 'integration'}" if server else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("properties")
        order[item] = (item.path.name not in FIRST, not server, KINDS.index(place.parts[1]) if place.parts[1] in KINDS else len(KINDS))
    if hasattr(config, "workerinput"):
        items.sort(key=order.__getitem__)


def skip_or_fail(reason: str) -> None:
    """Skip where an optional part is missing; in CI, where everything promised must run, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI may not skip this: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real evaluation data: `RAG_TEST_DATA`, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("RAG_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"evaluation data, which is no part of this repository and may be absent in CI too, is not at {folder}; RAG_TEST_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        skip_or_fail("chromium is not installed (apt-get install chromium)")
    return str(path)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the configuration that they make, never the developer's own."""
    for name in list(os.environ):
        if (name.startswith("RAG_") and not name.startswith("RAG_TEST_")) or name in {"CLOUD_PROFILE", "JPMC_USER_SID"}:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A test that sets up logging leaves the next one's records alone."""
    ours, root = logging.getLogger("src"), logging.getLogger()
    levels, handlers = (ours.level, root.level), list(root.handlers)
    yield
    ours.setLevel(levels[0])
    root.setLevel(levels[1])
    for handler in [handler for handler in root.handlers if handler not in handlers and handler.get_name() == "rag"]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Cache folder that holds the prepared embedding model; kept between runs, because its files are checked by hash."""
    from src.errors import MissingExtraError
    from src.infra.providers.minilm import prepare_model

    folder = ROOT / ".cache" / "tests"
    try:
        prepare_model(folder)
    except MissingExtraError as error:
        skip_or_fail(str(error))
    return folder
