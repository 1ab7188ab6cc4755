"""Fixtures around real servers, started when the first test asks; `tests/conftest.py` takes them by importing them.

`RAG_TEST_OPENSEARCH_URL` (may carry ``user:password@``) names a cluster with k-NN and neural-search to use as `opensearch` instead of
starting one; only what starts with a test's `index_prefix` is made and deleted there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.opensearch.cluster import Cluster
    from tests.servers.opensearch.node import Flavour, OpenSearchNode

_clusters: list[Cluster] = []
"""Those of this session, for `index_prefix` to clean."""


@contextmanager
def _node(folders: pytest.TempPathFactory, flavour: Flavour, heap: str, settings: dict[str, object] | None = None) -> Iterator[OpenSearchNode]:
    from tests.conftest import skip_or_fail
    from tests.servers.opensearch.jars import ServerUnavailableHereError, jar_folder
    from tests.servers.opensearch.node import OpenSearchNode, running

    try:
        jar_folder()
    except ServerUnavailableHereError as error:
        skip_or_fail(str(error))
    with running(OpenSearchNode(flavour, folders.mktemp(f"opensearch-{flavour}"), heap, settings=settings or {})) as node:
        yield node


@contextmanager
def _shared(folders: pytest.TempPathFactory, flavour: Flavour, heap: str) -> Iterator[Cluster]:
    with _node(folders, flavour, heap) as node:
        _clusters.append(node.cluster)
        yield node.cluster


@pytest.fixture(scope="session")
def opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with k-NN and neural-search: everything that the engine can use."""
    from tests.servers.opensearch.cluster import Cluster

    given = os.environ.get("RAG_TEST_OPENSEARCH_URL")
    if given:
        _clusters.append(Cluster.at(given))
        yield _clusters[-1]
    else:
        with _shared(tmp_path_factory, "full", "512m") as cluster:
            yield cluster


@pytest.fixture(scope="session")
def opensearch_knn_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """k-NN without neural-search: `hybrid` and its processors are unknown."""
    with _shared(tmp_path_factory, "knn", "384m") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def opensearch_plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """No plugin: no vectors either."""
    with _shared(tmp_path_factory, "plain", "256m") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def opensearch_secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """k-NN, neural-search and the security plugin over TLS; `Cluster.security` has authority, users, tokens and certificates."""
    with _shared(tmp_path_factory, "secured", "512m") as cluster:
        yield cluster


@pytest.fixture
def opensearch_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OpenSearchNode]]:
    """Makes nodes of the test's own, to kill, pause or set up otherwise: ``opensearch_node("full", **{"thread_pool.write.queue_size": 1})``."""
    with ExitStack() as stack:
        yield lambda flavour="full", heap="512m", **settings: stack.enter_context(_node(tmp_path_factory, flavour, heap, settings))


@pytest.fixture
def index_prefix() -> Iterator[str]:
    """What the names of a test's indices, aliases and pipelines start with; all of it is deleted afterwards, on every shared cluster."""
    prefix = f"test-{uuid.uuid4().hex[:12]}-"
    yield prefix
    for cluster in _clusters:
        cluster.forget(prefix)
