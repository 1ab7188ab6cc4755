"""Versions behind an alias, leases, differences: the pure rules."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ServiceUnavailableError
from src.infra.resilience.retry import RetryBudget, RetryPolicy, without_waiting
from src.infra.search.opensearch import fields
from src.infra.search.opensearch.reading.stored import Held, Record, batches, read_held
from src.infra.search.opensearch.versions.checking import share
from src.infra.search.opensearch.versions.diffing import Line, Pair, differences
from src.infra.search.opensearch.versions.state import (
    LEASE_S,
    STATE,
    Lease,
    building_alias,
    mapping_differences,
    number_of,
    read_family,
    read_lease,
    version_name,
)
from src.infra.search_config import index_body


def index(*aliases: str, state: dict[str, Any] | None = None, **settings: str) -> dict[str, Any]:
    meta = {fields.META: {"format": fields.FORMAT}, STATE: state or {}}
    return {"aliases": {alias: {} for alias in aliases}, "mappings": {"_meta": meta}, "settings": {"index": settings}}


@given(st.text("abc-.0", min_size=1, max_size=20), st.integers(0, 10**9))
def test_a_version_is_named_by_alias_and_number(alias: str, number: int) -> None:
    assert number_of(alias, version_name(alias, number)) == number
    assert number_of(f"{alias}x", version_name(alias, number)) is None


@pytest.mark.parametrize("name", ["docs", "docs-1", "docs-archive-000001", "docs-000001-x", "xdocs-000001", "docs-00000a"])
def test_other_names_are_no_versions(name: str) -> None:
    assert number_of("docs", name) is None


def test_a_family_is_the_aliass_own_indices_and_where_it_points() -> None:
    answer = {
        "docs-000002": index("docs", state={"epoch": 4}),
        "docs-000001": index(state={"epoch": 2}, creation_date="1700000000000"),
        "docs-000003": index(building_alias("docs-000003", "t1")),
        "docs-archive-000001": index("docs-archive"),
        "stranger": index("docs"),
    }
    family = read_family("docs", answer)
    assert [version.name for version in family.versions] == ["stranger", "docs-000001", "docs-000002", "docs-000003"]
    assert [version.name for version in family.current] == ["stranger", "docs-000002"]
    assert (family.next_name, family.next_epoch, family.in_the_way) == ("docs-000004", 5, False)
    found = {name: family.find(name) for name in ("2", "000002", "docs-000002", "9", "docs-archive-000001")}
    assert [version and version.name for version in found.values()] == ["docs-000002"] * 3 + [None] * 2
    assert [family.built(version) for version in family.versions] == [None, None, None, "docs-000003.by-t1"]
    assert read_family("docs", {"docs": index()}).in_the_way
    assert read_family("docs", {}).next_name == "docs-000001"


@pytest.mark.parametrize(
    ("blocks", "blocked"), [({}, False), ({"write": "true"}, True), ({"write": "false"}, False), ({"read_only_allow_delete": "true"}, True)]
)
def test_a_block_of_any_kind_is_a_block(blocks: dict[str, str], blocked: bool) -> None:
    entry = index("docs")
    entry["settings"]["index"]["blocks"] = blocks
    assert read_family("docs", {"docs-000001": entry}).versions[0].write_blocked is blocked


def test_a_lease_holds_while_its_process_lives_and_says_so() -> None:
    mine = Lease.mine()
    assert not mine.given_up()
    assert read_lease(mine.as_json()) == replace(mine, at=round(mine.at, 1))
    assert replace(mine, at=mine.at - LEASE_S - 1).given_up()
    assert not replace(mine, host="elsewhere", pid=1).given_up()
    assert replace(mine, host="elsewhere", at=time.time() - LEASE_S - 1).given_up()


def test_the_lease_of_a_dead_process_on_this_machine_is_given_up_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    assert Lease(socket.gethostname(), int(done.stdout), time.time()).given_up()
    assert not Lease(socket.gethostname(), os.getppid(), time.time()).given_up()


@pytest.mark.parametrize("stored", [None, "x", 7, [], {}])
def test_what_is_no_lease_holds_nothing(stored: Any) -> None:
    lease = read_lease(stored)
    assert lease is None or lease.given_up()


def test_a_mapping_differs_where_meaning_does() -> None:
    expected = index_body(dims=4, embedder="m")["mappings"]["properties"]
    assert list(mapping_differences(expected, expected)) == []
    larger = index_body(dims=4, embedder="m", language="german", size="large")["mappings"]["properties"]
    assert list(mapping_differences(expected, larger)) == []
    found = {**expected, fields.DOC_KEY: {"type": "text"}, fields.PAYLOAD: {"type": "object"}}
    del found[fields.FACETS]
    assert sorted(mapping_differences(expected, found)) == [
        "doc_key has type text, not keyword",
        "facets is missing",
        "payload has enabled True, not False",
    ]
    assert list(mapping_differences(expected, {**expected, "more": {"type": "keyword"}})) == []


# -- differences


def line(key: int, revision: int = 1, pending: int = 0, chunks: int = 1) -> Line:
    return Line(f"{key:032x}", str(revision), pending, chunks)


records = st.dictionaries(st.integers(0, 30), st.tuples(st.integers(1, 3), st.sampled_from([0, 0, 0, 2])), max_size=20).map(
    lambda found: [line(key, revision, pending) for key, (revision, pending) in sorted(found.items())]
)


async def listed(lines: Sequence[Line]) -> AsyncGenerator[Line, None]:
    for one in lines:
        yield one


@given(records, records)
def test_exactly_what_differs_or_is_being_written_comes_up(ours: list[Line], theirs: list[Line]) -> None:
    async def collect() -> list[Pair]:
        return [pair async for pair in differences(listed(ours), listed(theirs))]

    by_key, other = {one.key: one for one in ours}, {one.key: one for one in theirs}
    expected = [
        (by_key.get(key), other.get(key)) for key in sorted({*by_key, *other}) if by_key.get(key) != other.get(key) or (key in by_key and by_key[key].pending)
    ]
    assert asyncio.run(collect()) == expected


@given(st.lists(st.integers(0, 2000), max_size=40))
def test_documents_are_read_in_batches_that_lose_none_and_stay_small(sizes: list[int]) -> None:
    wanted = [(f"k{at}", size) for at, size in enumerate(sizes)]
    found = list(batches(wanted, 1000))
    assert [one for batch in found for one in batch] == wanted
    assert all(len(batch) == 1 or sum(places + 1 for _, places in batch) <= 1000 for batch in found)


def held(revisions: Sequence[str], *, chunks: int, pending: int | None = None) -> Held:
    payload = {"revision": "r", "chunks": chunks, **({"pending": pending} if pending else {})}
    record = Record("k1", "docs-000001", 1, 1, {fields.KIND: fields.DOCUMENT, fields.PAYLOAD: payload})
    return Held(record, {at: {fields.PAYLOAD: {"revision": revision}} for at, revision in enumerate(revisions) if revision})


@pytest.mark.parametrize(
    ("document", "whole"),
    [
        (held(["r", "r"], chunks=2), True),
        (held([], chunks=0), True),
        (held(["r", "s"], chunks=2), False),
        (held(["r", ""], chunks=2), False),
        (held(["r", "r", "r"], chunks=2), False),
        (held(["r", "r"], chunks=2, pending=2), False),
    ],
)
def test_a_document_is_whole_where_all_its_chunks_are_of_its_own_revision(document: Held, whole: bool) -> None:
    assert document.whole is whole


class Shards:
    """A transport whose shards give no entry for the first ``failing`` requests."""

    host = "http://scripted:9200"

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.asked: list[list[str]] = []
        self.budget = RetryBudget()
        self.retries = RetryPolicy(3)

    async def perform(self, method: str, path: str, *, body: Mapping[str, Any], **_: Any) -> Any:
        assert path == "/docs-000001/_mget"
        self.asked.append(body["ids"])
        if len(self.asked) <= self.failing:
            error = {"type": "no_shard_available_action_exception", "reason": "No shard available for [get]"}
            return {"docs": [{"_id": key, "error": error} if "-" in key else self._entry(key) for key in body["ids"]]}
        return {"docs": [self._entry(key) for key in body["ids"]]}

    @staticmethod
    def _entry(key: str) -> dict[str, Any]:
        payload = {"revision": "r"} if "-" in key else {"revision": "r", "chunks": 2}
        return {"_id": key, "_index": "docs-000001", "found": True, "_seq_no": 1, "_primary_term": 1, "_source": {"kind": "document", "payload": payload}}


def test_what_a_shard_cannot_give_for_the_moment_is_asked_for_again_and_is_never_taken_for_gone() -> None:
    moment, lasting = Shards(1), Shards(99)
    with without_waiting():
        (document,) = asyncio.run(read_held(moment, "docs-000001", [("k", 2)], 5.0))  # type: ignore[arg-type]  # a script of it
        assert document.whole
        assert moment.asked == [["k", "k-0", "k-1"], ["k-0", "k-1"]]
        with pytest.raises(ServiceUnavailableError, match="No shard available"):
            asyncio.run(read_held(lasting, "docs-000001", [("k", 2)], 5.0))  # type: ignore[arg-type]  # a script of it
    assert len(lasting.asked) == 4


# -- sample questions


def hits(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"_id": key, "_score": score} for key, score in pairs]


def test_a_hit_that_may_have_lost_a_draw_is_not_missed() -> None:
    old = hits(("a", 3.0), ("b", 2.0), ("c", 1.0))
    assert share("a", old, old, 0.05).kept == 1.0
    assert share("b", old, hits(("a", 3.0), ("d", 1.0)), 0.05).kept == pytest.approx(2 / 3)
    assert share("c", old, hits(("a", 3.0), ("b", 2.0), ("x", 1.0)), 0.05).kept == 1.0
    assert share("b", old, hits(("a", 3.0), ("d", 1.0)), 0.05).found is False
    assert share("z", old, old, 0.05).found is None
    assert share("a", old, [], 0.05).kept == 0.0
    assert share("a", [], [], 0.05).kept == 1.0
