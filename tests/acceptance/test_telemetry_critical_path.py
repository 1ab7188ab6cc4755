"""One chat over HTTP, through graph, embedding and a real OpenSearch to a model: one trace that says where the time went, to within a twentieth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.conftest import rag, serving
from tests.critical_path import Step, Timed, children_of, critical_path
from tests.emulators.azure_openai import KEY, AzureOpenAIEmulator, Recorded, Reply
from tests.emulators.collector import Collector, attributes_of
from tests.emulators.quoting import QuotingModel
from tests.servers.opensearch.cluster import Cluster

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TEXT = "# Resting\n\nA Quagganaut must rest eleven hours after a Zibeline shift in the Obfuscatory wing.\n"
QUESTION = "How long must a Quagganaut rest after a Zibeline shift?"
EMBEDDING_S, ANSWER_S = 0.2, 0.5
"""Planted: what the hops take is most of the whole, however busy the machine."""
NAMED = re.compile(r"rag\.(?!chat$|retrieve$)|chat |embeddings |search |mget |msearch ")
"""Stages and calls. A request, a chat and a retrieval are what is asked for: time of their own is time that no stage accounts for."""


def configuration(folder: Path, collector: Collector, azure: AzureOpenAIEmulator, cluster: Cluster, alias: str) -> str:
    model = f"provider = azure\napi_base = {azure.url}\napi_version = 2024-06-01\napi_key = {KEY}\n"
    return (
        f"[telemetry]\nenabled = true\nendpoint = {collector.url}\nsignals = traces\nflush_timeout_s = 20\n"
        f"[network]\nca_bundle = {azure.ca_file}\n[search]\nhost = {cluster.url}\nindex_alias = {alias}\ntimeout_s = 30\n"
        f"[chat]\n{model}model = gpt-4\n[embed]\n{model}model = text-embedding-ada-002\ndims = 64\ncache_entries = 0\n"
    )


def delayed(azure: AzureOpenAIEmulator) -> None:
    def always(request: Recorded) -> Reply | None:
        return Reply(delay_s=EMBEDDING_S if request.path.endswith("/embeddings") else ANSWER_S)

    azure.always = always


@pytest.fixture
def spans(opensearch: Cluster, index_prefix: str, tmp_path: Path) -> list[Any]:
    """Of one chat."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    azure = AzureOpenAIEmulator(tmp_path, dims=64, ca=authority, model=QuotingModel())
    with Collector(authority).running() as collector, azure.running():
        more = configuration(tmp_path, collector, azure, opensearch, f"{index_prefix}docs")
        with serving(tmp_path, more=more) as server, server.client() as client:
            (tmp_path / "note.md").write_text(TEXT, encoding="utf-8")
            done = rag("ingest", tmp_path / "note.md", "--config", tmp_path / "config.ini", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert client.post("/v1/chat", json={"message": QUESTION}).status_code == 200, "the first request of a process makes its connections"
            delayed(azure)
            azure.requests.clear()
            answer = client.post("/v1/chat", json={"message": QUESTION}, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
            assert "eleven hours" in answer.json()["answer"], answer.text
        assert azure.requests
        assert {request.headers["traceparent"][3:35] for request in azure.requests} == {TRACE}
        return [span for span in collector.spans if span.trace_id.hex() == TRACE]


def test_the_own_times_along_the_critical_path_are_the_whole(spans: list[Any]) -> None:
    timed = [Timed(span.span_id.hex(), span.parent_span_id.hex(), span.name, span.start_time_unix_nano, span.end_time_unix_nano) for span in spans]
    ids = {span.id for span in timed}
    (root,) = [span for span in timed if span.parent not in ids]
    assert (root.name, root.parent) == ("POST /v1/chat", CALLER), "one trace, and each span but the first lies in it"
    path = critical_path(root, children_of(timed))
    table = "\n".join(f"{step.own / 1e6:9.2f} ms  {step.span.name}" for step in path)
    within = max(0.05 * root.taken, 2e6)
    assert abs(sum(step.own for step in path) - root.taken) <= within, table
    assert unnamed(path) <= within, table
    names = {step.span.name for step in path}
    stages = {"rag.thread", "rag.graph", "rag.embed", "rag.search", "rag.generate", "rag.persist"}
    assert stages | {"embeddings text-embedding-ada-002", "chat gpt-4"} <= names, table
    calls = [attributes_of(span.attributes) for span in spans if span.kind == 3]
    assert {call.get("db.system.name") or call["gen_ai.provider.name"] for call in calls} == {"opensearch", "azure.ai.openai"}
    assert sum(step.own for step in path if step.span.name == "chat gpt-4") >= 0.9e9 * ANSWER_S, table


def unnamed(path: list[Step]) -> int:
    """Nanoseconds of the path that no stage and no call accounts for."""
    return sum(step.own for step in path if not NAMED.match(step.span.name))
