"""What a request's stages took, and which of it is their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.identity import Identity, current_identity
from src.telemetry import recording
from src.telemetry.recording import MOST_CALLS, Call, Finished, Frame, note, without_quotes
from src.telemetry.stages import operation, record_stage, record_timing, stage


class Heard:
    def __init__(self) -> None:
        self.held: list[tuple[str, Call]] = []
        self.requests: list[Finished] = []

    def calls(self, tenant: str, calls: Sequence[Call]) -> None:
        self.held += [(tenant, call) for call in calls]

    def finished(self, request: Finished) -> None:
        self.requests.append(request)

    def names(self) -> list[str]:
        return [call[0] for _, call in self.held]


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    recording.listen(listener)
    yield listener
    recording.listen(None)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda one: (one[0], one[0] + one[1])), max_size=60)


@given(spans)
def test_what_stages_cover_counts_once_however_they_overlap(found: list[tuple[int, int]]) -> None:
    frame = Frame(None)
    for begun, ended in sorted(found, key=lambda one: one[1]):
        frame.cover(begun, ended)
    assert frame.covered() == len({second for begun, ended in found for second in range(begun, ended)})


def test_very_many_stages_within_one_take_no_more_room_than_a_few() -> None:
    frame = Frame(None)
    for at in range(0, 100_000, 10):
        frame.cover(at, at + 4)
    assert frame.covered() == 40_000
    assert len(frame._spans or ()) <= recording.MOST_SPANS


def test_a_stage_has_as_its_own_what_none_within_covers(heard: Heard) -> None:
    with operation("chat"), stage("search"):
        with stage("search.bm25"):
            sum(range(20_000))
        sum(range(1000))
    found = {name: (seconds, own) for _, (name, seconds, own) in heard.held}
    assert heard.names() == ["search.bm25", "search", "chat"]
    assert found["search.bm25"][0] == found["search.bm25"][1]
    assert found["search"][1] == pytest.approx(found["search"][0] - found["search.bm25"][0])
    assert found["chat"][1] == pytest.approx(found["chat"][0] - found["search"][0])
    assert sum(heard.requests[0].own.values()) == pytest.approx(heard.requests[0].seconds)


async def test_stages_of_tasks_and_threads_belong_to_the_request_that_started_them(heard: Heard) -> None:
    async def leg(name: str) -> None:
        with stage(name):
            await asyncio.sleep(0)

    def threaded() -> None:
        with stage("thread"):
            pass

    with operation("chat"):
        await asyncio.gather(leg("a"), leg("b"), asyncio.to_thread(threaded))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, threaded).result()
    assert sorted(heard.names()) == ["a", "b", "chat", "thread", "thread"]
    assert len(heard.requests) == 1


def test_an_operation_within_a_request_is_one_of_its_stages(heard: Heard) -> None:
    with operation("chat"), operation("retrieve"), stage("embed"):
        pass
    assert heard.names() == ["embed", "retrieve", "chat"]
    assert [request.kind for request in heard.requests] == ["chat"]


def test_a_request_tells_its_tenant_reasons_and_counts_once(heard: Heard) -> None:
    token = current_identity.set(Identity("ana", "acme"))
    with operation("chat"):
        with operation("retrieve"):
            note(degraded=("by words alone",))
        note(degraded=("by words alone", "cut off"), counts={"added": 2})
    current_identity.reset(token)
    with operation("ingest"):
        note(tenant="other")
    first, second = heard.requests
    assert (first.tenant, first.degraded, first.counts) == ("acme", ("by words alone", "cut off"), {"added": 2})
    assert second.tenant == "other"


@pytest.mark.parametrize(("raised", "said"), [(asyncio.CancelledError(), "cancelled"), (ValueError("a secret"), "ValueError")])
def test_how_a_request_failed_is_told_by_a_word_and_never_by_its_text(heard: Heard, raised: BaseException, said: str) -> None:
    with pytest.raises(type(raised)), operation("chat"):
        raise raised
    assert heard.requests[0].failed == said
    assert "secret" not in repr(heard.requests)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("embedding failed (deadline, retrieval.embed_budget_s): by words alone", "embedding failed (deadline, retrieval.embed_budget_s): by words alone"),
        ("only a part of the index answered: 2 of 5 shards failed (x_exception)", "only a part of the index answered: 2 of 5 shards failed (x_exception)"),
        ("fusion was not possible (no field [salary of (Ana)]): fused here", "fusion was not possible (…): fused here"),
        ("fusion was not possible (no field for salary of Ana", "fusion was not possible (…)"),
        ("fusion was not possible (salary) or (of Ana): fused here", "fusion was not possible (…): fused here"),
        ("a tool of somebody's own wrote to ana@example.com", "a tool of somebody's own wrote to [redacted:email]"),
    ],
)
def test_what_a_service_may_have_repeated_of_the_question_is_left_out_of_reasons(reason: str, kept: str) -> None:
    assert without_quotes(reason) == kept


def test_a_figure_is_no_stage_and_takes_nothing_from_others(heard: Heard) -> None:
    with operation("chat"):
        record_timing("first_sentence", 5000)
        record_stage("persist", 0.001)
    found = {name: own for _, (name, _, own) in heard.held}
    assert found["first_sentence"] == 0
    assert found["persist"] == pytest.approx(1e-6)


def test_long_requests_hand_on_what_they_hold(heard: Heard) -> None:
    with operation("ingest"):
        for _ in range(3 * MOST_CALLS):
            with stage("ingest.load"):
                pass
        assert len(heard.held) >= 2 * MOST_CALLS
    assert len(heard.held) == 3 * MOST_CALLS + 1


def test_nothing_is_recorded_outside_of_requests_or_when_nobody_listens(heard: Heard) -> None:
    with stage("embed"):
        note(degraded=("x",))
    recording.listen(None)
    with operation("chat"), stage("embed"):
        note(degraded=("x",))
    assert (heard.held, heard.requests) == ([], [])


def test_a_listener_that_leaves_while_a_request_runs_ends_nothing(heard: Heard) -> None:
    with operation("chat"), stage("embed"):
        recording.listen(None)
    assert heard.requests == []
