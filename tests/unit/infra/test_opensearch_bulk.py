"""The rules of bulk requests, against a server that is a few lines of Python: what is sent when, and what becomes of refusals."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.errors import DeadlineExceededError, OverloadedError, PayloadTooLargeError, ServiceUnavailableError, TlsError, UnreachableError, WriteBlockedError
from src.infra.config import SearchCfg
from src.infra.resilience.deadline import deadline
from src.infra.resilience.retry import Retries, RetryBudget, RetryPolicy, without_waiting
from src.infra.search.opensearch.writing.bulk import Action, Bulk, BulkReport

OK: Mapping[str, Any] = {"status": 201}


def refused(status: int, kind: str, reason: str = "said the test") -> Mapping[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": reason}}


@dataclass
class Server:
    """Stands where the transport does. ``decide`` answers an item; ``refuse`` may raise for a whole request."""

    decide: Callable[[str, int], Mapping[str, Any]] = lambda key, tries: OK
    refuse: Callable[[list[str], int], None] = lambda keys, size: None
    host: str = "http://test:9200"
    requests: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    async def perform(self, method: str, path: str, *, body: bytes, params: Mapping[str, str], **_: Any) -> Any:
        assert (method, path, params["require_alias"]) == ("POST", "/docs/_bulk", "true")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        lines = iter(body.decode().rstrip("\n").split("\n"))
        keys = []
        for line in lines:
            ((op, parameters),) = json.loads(line).items()
            keys.append(parameters["_id"])
            if op != "delete":
                next(lines)
        self.requests.append(keys)
        self.sizes.append(len(body))
        self.refuse(keys, len(body))
        items = []
        for key in keys:
            self.tries[key] = self.tries.get(key, 0) + 1
            item = self.decide(key, self.tries[key])
            if "error" not in item:
                self.taken.append(key)
            items.append({"index": item})
        return {"errors": any("error" in item["index"] for item in items), "items": items}


def actions(count: int, text: str = "x") -> Iterator[Action]:
    return (Action(f"k{number}", {"text": text}) for number in range(count))


def run(server: Server, source: Any, **cfg: Any) -> BulkReport:
    with without_waiting():
        return asyncio.run(Bulk(server, SearchCfg(host="http://test:9200", **cfg), "docs").run(source))  # type: ignore[arg-type]  # a stand-in


def test_batches_stay_within_bytes_and_items() -> None:
    server = Server()
    report = run(server, actions(1000, "x" * 200), bulk_bytes=20_000, bulk_actions=60)
    assert report.done == 1000
    assert max(len(keys) for keys in server.requests) <= 60
    assert max(server.sizes) <= 20_000
    assert sorted(server.taken) == sorted(f"k{number}" for number in range(1000))
    assert len(server.requests) == 17


def test_an_item_beyond_the_limit_goes_alone() -> None:
    server = Server()
    source = [Action("a", {"t": 1}), Action("b", {"t": "x" * 30_000}), Action("c", {"t": 1})]
    assert run(server, source, bulk_bytes=10_000).done == 3
    assert sorted(server.requests) == [["a"], ["b"], ["c"]]


def test_no_more_are_on_their_way_than_allowed_and_the_source_is_not_read_ahead() -> None:
    server, read = Server(), 0

    async def source() -> AsyncIterator[Action]:
        nonlocal read
        for action in actions(500):
            read += 1
            # Read: what has been sent, what two requests hold that are on their way, and one batch in the making.
            assert read <= 10 * (len(server.requests) + 3)
            yield action

    assert run(server, source(), bulk_actions=10, bulk_parallel=2).done == 500
    assert server.most_at_once == 2


def test_only_refused_items_are_sent_again() -> None:
    server = Server(decide=lambda key, tries: OK if tries > 1 or key not in ("k3", "k7") else refused(429, "rejected_execution_exception"))
    report = run(server, actions(10))
    assert server.requests[1:] == [["k3", "k7"]]
    assert (report.done, report.repeated, report.failed) == (10, 2, [])


@pytest.mark.parametrize("kind", ["items", "request", "open breaker"])
def test_what_is_refused_for_half_a_minute_is_taken_with_the_settings_as_shipped(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    again = Retries.again

    async def counted(self: Retries, *args: Any, **more: Any) -> bool:
        before = self.waited_s
        went = await again(self, *args, **more)
        waited.append(self.waited_s - before)
        return went

    monkeypatch.setattr(Retries, "again", counted)

    def refuse(keys: list[str], size: int) -> None:
        if kind != "items" and sum(waited) < 30:
            raise OverloadedError("429") if kind == "request" else ServiceUnavailableError("left alone for a while")

    server = Server(lambda key, tries: refused(429, "rejected_execution_exception") if kind == "items" and sum(waited) < 30 else OK, refuse)
    report = run(server, actions(5))
    assert (report.done, report.failed) == (5, [])
    assert sum(waited) >= 30


@pytest.mark.parametrize(("cfg", "least", "most"), [({}, 55, 66), ({"bulk_timeout_s": 10}, 5, 16), ({"bulk_timeout_s": 0.001, "max_retries": 4}, 0, 2)])
def test_items_that_are_refused_without_end_are_an_error_after_a_minute_or_the_time_of_a_bulk(
    cfg: dict[str, Any], least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Retries] = []
    start = RetryPolicy.start

    def kept(self: RetryPolicy, budget: RetryBudget | None = None) -> Retries:
        started.append(start(self, budget))
        return started[-1]

    monkeypatch.setattr(RetryPolicy, "start", kept)
    server = Server(decide=lambda key, tries: refused(503, "unavailable_shards_exception"))
    with pytest.raises(ServiceUnavailableError):
        run(server, actions(5), **cfg)
    assert least <= sum(retries.waited_s for retries in started) <= most
    assert len(server.requests) >= cfg.get("max_retries", 3) + 1


@pytest.mark.parametrize("error", [TlsError("unknown authority"), WriteBlockedError("full disk")])
def test_what_no_repeat_ends_is_told_at_once(error: Exception) -> None:
    def refuse(keys: list[str], size: int) -> None:
        raise error

    server = Server(refuse=refuse)
    with pytest.raises(type(error)):
        run(server, actions(5))
    assert len(server.requests) == 1


def test_poison_is_reported_item_by_item_and_everything_else_is_done() -> None:
    server = Server(decide=lambda key, tries: refused(400, "mapper_parsing_exception") if key in ("k3", "k1100") else OK)
    report = run(server, [*actions(1200), Action("odd", {"x": object()}), Action("nan", {"x": {1, 2}})])
    assert report.done == 1198
    assert {error.item_id: (error.reason, error.status) for error in report.failed} == {
        "k3": ("mapper_parsing_exception", 400),
        "k1100": ("mapper_parsing_exception", 400),
        "odd": ("unwritable", 400),
        "nan": ("unwritable", 400),
    }


def test_conflicts_are_told_and_not_repeated() -> None:
    server = Server(decide=lambda key, tries: refused(409, "version_conflict_engine_exception"))
    report = run(server, actions(3))
    assert ([error.status for error in report.failed], len(server.requests)) == ([409] * 3, 1)


@pytest.mark.parametrize("error", [UnreachableError("reset"), DeadlineExceededError("late"), OverloadedError("busy"), ServiceUnavailableError("503")])
def test_a_batch_whose_answer_was_lost_is_sent_again(error: Exception) -> None:
    failures = [error, error]

    def refuse(keys: list[str], size: int) -> None:
        if failures:
            raise failures.pop()

    server = Server(refuse=refuse)
    assert run(server, actions(7)).done == 7
    assert len(server.requests) == 3
    assert {tuple(keys) for keys in server.requests} == {tuple(f"k{number}" for number in range(7))}


@settings(max_examples=30)
@given(st.integers(1, 120), st.integers(60, 5_000))
def test_what_is_too_large_is_halved_until_it_fits_and_what_never_does_is_reported(count: int, limit: int) -> None:
    def refuse(keys: list[str], size: int) -> None:
        if size > limit:
            raise PayloadTooLargeError("413")

    server = Server(refuse=refuse)
    report = run(server, [*actions(count), Action("huge", {"text": "y" * 6_000})])
    assert report.done == count
    assert [(error.item_id, error.status) for error in report.failed] == [("huge", 413)]
    assert sorted(server.taken) == sorted(f"k{number}" for number in range(count))


def test_a_large_batch_that_finds_no_room_twice_is_halved() -> None:
    def refuse(keys: list[str], size: int) -> None:
        if size > 300_000:
            raise OverloadedError("no room")

    server = Server(refuse=refuse)
    assert run(server, actions(400, "x" * 2_000)).done == 400


def test_a_blocked_index_is_told_at_once() -> None:
    flood = "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark];"
    server = Server(decide=lambda key, tries: refused(429, "cluster_block_exception", flood))
    with pytest.raises(WriteBlockedError):
        run(server, actions(3))
    assert len(server.requests) == 1


def test_a_deadline_ends_the_repeats() -> None:
    server = Server(decide=lambda key, tries: refused(429, "rejected_execution_exception"))

    async def write() -> None:
        with deadline(0.2, "The load"):
            await Bulk(server, SearchCfg(host="http://test:9200"), "docs").run(actions(3))  # type: ignore[arg-type]  # a stand-in

    with pytest.raises((DeadlineExceededError, OverloadedError)):
        asyncio.run(write())
    assert len(server.requests) < 20


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 50), st.integers(1, 4))
def test_whatever_is_refused_for_a_moment_everything_is_taken_once_in_the_end(seed: int, count: int, size: int, parallel: int) -> None:
    rng = random.Random(seed)

    def refuse(keys: list[str], _: int) -> None:
        if rng.random() < 0.2:
            raise rng.choice([UnreachableError("reset"), OverloadedError("busy"), ServiceUnavailableError("503")])

    def decide(key: str, tries: int) -> Mapping[str, Any]:
        return refused(429, "rejected_execution_exception") if rng.random() < 0.3 and tries < 5 else OK

    server = Server(decide=decide, refuse=refuse)
    report = run(server, actions(count), bulk_actions=size, bulk_parallel=parallel)
    assert (report.done, report.failed) == (count, [])
    assert sorted(server.taken) == sorted(f"k{number}" for number in range(count))


def test_guards_and_versions_are_sent_with_their_items() -> None:
    sent: list[bytes] = []

    class Recorder(Server):
        async def perform(self, method: str, path: str, *, body: bytes, params: Mapping[str, str], **more: Any) -> Any:
            sent.append(body)
            return await super().perform(method, path, body=body, params=params, **more)

    run(Recorder(), [Action("a/b\udce9", {"x": 1}, guard=(5, 1)), Action("c", {"x": 2}, "create"), Action("d", None, "delete", version=9)])
    assert [json.loads(line) for line in sent[0].split(b"\n") if line] == [
        {"index": {"_id": "a/b\udce9", "if_seq_no": 5, "if_primary_term": 1}},
        {"x": 1},
        {"create": {"_id": "c"}},
        {"x": 2},
        {"delete": {"_id": "d", "version": 9, "version_type": "external_gte"}},
    ]
