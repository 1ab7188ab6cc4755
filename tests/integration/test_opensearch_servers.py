"""The test servers are what the other OpenSearch tests take them for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.opensearch.cluster import Cluster
from tests.servers.opensearch.jars import ServerUnavailableHereError, jar_folder
from tests.servers.opensearch.node import NodeDidNotStartError, OpenSearchNode

PIPELINE = {"phase_results_processors": [{"normalization-processor": {"normalization": {"technique": "min_max"}}}]}
VECTOR = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}}
DOCUMENTS = {"1": ("cats purr", [1.0, 0.0], "own"), "2": ("dogs bark", [0.0, 1.0], "own"), "3": ("cats and dogs", [0.7, 0.7], "partner")}


def fill(cluster: Cluster, index: str) -> None:
    properties = {"text": {"type": "text", "analyzer": "english"}, "tenant": {"type": "keyword"}, "vector": VECTOR}
    cluster.ask("PUT", index, {"settings": {"index.knn": True, "number_of_replicas": 0}, "mappings": {"properties": properties}})
    lines: list[Any] = []
    for name, (text, vector, tenant) in DOCUMENTS.items():
        lines += [{"index": {"_id": name}}, {"text": text, "vector": vector, "tenant": tenant}]
    assert cluster.ask("POST", f"{index}/_bulk?refresh=true", lines)["errors"] is False


def hybrid() -> dict[str, Any]:
    legs = [{"match": {"text": "cat"}}, {"knn": {"vector": {"vector": [0.0, 1.0], "k": 3}}}]
    return {"_source": False, "query": {"hybrid": {"queries": legs}}, "search_pipeline": PIPELINE}


def ids(answer: Any) -> set[str]:
    return {hit["_id"] for hit in answer["hits"]["hits"]}


def test_full_cluster_fuses_both_legs(opensearch: Cluster, index_prefix: str) -> None:
    fill(opensearch, index_prefix + "docs")
    answer = opensearch.ask("POST", f"{index_prefix}docs/_search", hybrid())
    assert ids(answer) == {"1", "2", "3"}
    assert all(0 <= hit["_score"] <= 1 for hit in answer["hits"]["hits"])


def test_knn_only_cluster_refuses_hybrid(opensearch_knn_only: Cluster, index_prefix: str) -> None:
    fill(opensearch_knn_only, index_prefix + "docs")
    knn = {"query": {"knn": {"vector": {"vector": [0.0, 1.0], "k": 1}}}}
    assert ids(opensearch_knn_only.ask("POST", f"{index_prefix}docs/_search", knn)) == {"2"}
    query = {"query": hybrid()["query"]}
    answer = opensearch_knn_only.request("POST", f"{index_prefix}docs/_search", query)
    assert (answer.status, answer.json["error"]["type"]) == (400, "parsing_exception")


def test_plain_cluster_knows_no_vectors(opensearch_plain: Cluster, index_prefix: str) -> None:
    answer = opensearch_plain.request("PUT", index_prefix + "docs", {"settings": {"index.knn": True}})
    assert answer.status == 400
    assert "unknown setting [index.knn]" in answer.text


def test_what_a_test_makes_is_gone_afterwards(opensearch: Cluster, index_prefix: str) -> None:
    own = index_prefix + "own-"
    opensearch.ask("PUT", own + "1", {"aliases": {own + "alias": {}}})
    opensearch.ask("PUT", f"_search/pipeline/{own}pipe", {"request_processors": []})
    opensearch.ask("PUT", f"_index_template/{own}template", {"index_patterns": [own + "x*"]})
    opensearch.ask("PUT", index_prefix + "other", {})
    opensearch.forget(own)
    assert opensearch.request("GET", own + "alias").status == 404
    assert opensearch.request("GET", f"_search/pipeline/{own}pipe").status == 404
    assert opensearch.request("GET", f"_index_template/{own}template").status == 404
    assert opensearch.request("GET", index_prefix + "other").status == 200


def test_secured_cluster_answers_the_way_the_plugin_does(opensearch_secured: Cluster, index_prefix: str) -> None:
    cluster, security = opensearch_secured, opensearch_secured.security
    assert security is not None
    fill(cluster, index_prefix + "docs")
    search = f"{index_prefix}docs/_search"
    unknown = cluster.request("GET", search, user=("admin", "wrong"))
    assert (unknown.status, unknown.headers["content-type"].split(";")[0], unknown.text) == (401, "text/plain", "Unauthorized")
    assert "www-authenticate" in cluster.request("GET", search, anonymous=True).headers
    forbidden = cluster.request("GET", search, user=security.user("nobody"))
    assert (forbidden.status, forbidden.json["error"]["type"]) == (403, "security_exception")
    assert ids(cluster.ask("POST", search, hybrid(), user=security.user("reader"))) == {"1", "2", "3"}
    assert cluster.request("GET", "/", user=security.user("reader")).status == 403
    assert cluster.request("POST", "_msearch", [{"index": index_prefix + "docs"}, {}], user=security.user("bare")).status == 403
    assert ids(cluster.ask("GET", search, user=security.user("bare"))) == {"1", "2", "3"}


def test_secured_cluster_takes_certificates_and_tokens(opensearch_secured: Cluster) -> None:
    security = opensearch_secured.security
    assert security is not None
    who = "_plugins/_security/authinfo"
    assert opensearch_secured.ask("GET", who, certificate=security.client_certificate)["roles"] == ["writer"]
    for algorithm in ("HS256", "HS512"):
        token = security.jwt("jo", ["reader"], algorithm=algorithm)
        assert opensearch_secured.ask("GET", who, bearer=token)["user_name"] == "jo"
    assert opensearch_secured.request("GET", who, bearer=security.jwt("jo", ["reader"], lifetime_s=-120)).status == 401


def test_document_level_security_filters_searches_and_refuses_hybrid(opensearch_secured: Cluster, index_prefix: str) -> None:
    security = opensearch_secured.security
    assert security is not None
    fill(opensearch_secured, index_prefix + "docs")
    partner = security.user("partner")
    assert ids(opensearch_secured.ask("GET", f"{index_prefix}docs/_search", user=partner)) == {"3"}
    refused = opensearch_secured.request("POST", f"{index_prefix}docs/_search", hybrid(), user=partner)
    assert refused.status == 400
    assert "hybrid query must be a top level query" in refused.text


@pytest.mark.long  # test_opensearch_node_kills.py asks more of it, always
def test_killed_node_comes_back_with_what_it_acknowledged(opensearch_node: Callable[..., OpenSearchNode]) -> None:
    node = opensearch_node("knn", "384m")
    fill(node.cluster, "docs")
    for number in range(20):
        node.cluster.ask("PUT", f"docs/_doc/n{number}", {"text": "after the flush"})
    before = node.pid
    node.kill9()
    with pytest.raises(OSError, match="refused"):
        node.cluster.request("GET", "/")
    node.restart()
    assert node.pid != before
    node.cluster.ask("POST", "docs/_refresh")
    assert node.cluster.ask("GET", "docs/_count")["count"] == 23


@pytest.mark.long
def test_node_that_cannot_start_shows_its_log(opensearch_node: Callable[..., OpenSearchNode]) -> None:
    with pytest.raises(NodeDidNotStartError, match=r"no\.such\.setting[\s\S]*version\[2\.19"):
        opensearch_node("plain", "256m", **{"no.such.setting": 1})


def test_node_dies_with_a_killed_test_process(opensearch_plain: Cluster, tmp_path: Path, root: Path) -> None:
    """`opensearch_plain` only makes sure that jars are there."""
    code = (
        "import sys, time, pathlib, threading\n"
        "from tests.servers.opensearch.node import OpenSearchNode\n"
        "node = OpenSearchNode('plain', pathlib.Path(sys.argv[1]), '256m')\n"
        "starter = threading.Thread(target=node.start); starter.start(); starter.join()\n"
        "time.sleep(1); print(node.pid, node.running, flush=True); time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, alive = process.stdout.readline().split()
        process.kill()
    assert alive == "True", "the node outlives the thread that started it"
    for _ in range(200):
        if not alive_java(int(pid)):
            return
        time.sleep(0.05)
    os.kill(int(pid), signal.SIGKILL)
    pytest.fail("the node outlived its test process")


def alive_java(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("code", [1, 0])
def test_broken_download_never_looks_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A `mvn` that brings another jar than the listed ones, and fails, or claims success."""
    maven, cache = tmp_path / "bin" / "mvn", tmp_path / "cache"
    maven.parent.mkdir()
    jar = '"${last#-Djars=}/base/a.jar"'
    maven.write_text(f'#!/bin/sh\nfor last; do :; done\nmkdir -p "$(dirname {jar})" && touch {jar}\necho half way\nexit {code}\n')
    maven.chmod(0o755)
    monkeypatch.setenv("RAG_TEST_CACHE", str(cache))
    monkeypatch.setenv("PATH", f"{maven.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ServerUnavailableHereError, match="half way"):
        jar_folder()
    assert [path.name for path in (cache / "opensearch").iterdir()] == [".lock"]
