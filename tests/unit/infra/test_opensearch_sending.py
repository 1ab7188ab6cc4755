"""Answers of searches are whole or an error; what was refused for a moment is sent again, and only that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from src.errors import OverloadedError, PartialResultError, QueryError, ServicePermissionError
from src.infra.config import SearchCfg
from src.infra.resilience.retry import RetryBudget, RetryPolicy, without_waiting
from src.infra.search.opensearch.reading.plans import Refused, Search
from src.infra.search.opensearch.reading.sending import Sender

GOOD = {"status": 200, "timed_out": False, "_shards": {"total": 2, "failed": 0}, "hits": {"hits": []}}
HALF = {**GOOD, "_shards": {"total": 2, "failed": 1, "failures": [{"reason": {"type": "rejected_execution_exception", "reason": "full"}}]}}
LATE = {**GOOD, "timed_out": True}
BUSY = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "full"}}
WRONG = {"status": 400, "error": {"root_cause": [{"type": "parsing_exception", "reason": "unknown query [hybrid]"}], "type": "parsing_exception"}}


class Script:
    """A transport that answers multi-searches from a list, and single searches from another."""

    host = "http://scripted:9200"

    def __init__(self, *, multi: list[Any] | None = None, single: list[tuple[int, Any]] | None = None) -> None:
        self.multi, self.single = multi or [], single or []
        self.sent: list[list[Any]] = []
        self.budget = RetryBudget()
        self.retries = RetryPolicy(3)

    async def perform(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: bytes = b"", index: str = "") -> Any:
        assert path == "/docs/_msearch"
        self.sent.append([json.loads(line) for line in body.splitlines()])
        answer = self.multi.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"responses": answer}

    async def perform_raw(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None, index: str = "") -> tuple[int, Any]:
        assert path == "/docs/_search"
        self.sent.append([params, body])
        return self.single.pop(0)


def searches(count: int, **more: bool) -> list[Search]:
    return [Search({"size": at}, **more) for at in range(count)]


async def send(script: Script, asked: list[Search], **cfg: Any) -> tuple[list[Any], list[set[str]]]:
    partial: list[set[str]] = [set() for _ in asked]
    sender = Sender(script, SearchCfg(host=script.host, index_alias="docs", **cfg))  # type: ignore[arg-type]  # a script of it
    with without_waiting():
        return await sender.send(asked, ["mark"] * len(asked), partial), partial


async def test_one_search_is_sent_alone_and_several_together() -> None:
    alone, together = Script(single=[(200, GOOD)]), Script(multi=[[GOOD, GOOD]])
    assert (await send(alone, searches(1)))[0] == [GOOD]
    assert alone.sent == [[{"preference": "mark"}, {"size": 0}]]
    await send(together, searches(2))
    assert together.sent == [[{"preference": "mark"}, {"size": 0}, {"preference": "mark"}, {"size": 1}]]


async def test_answers_keep_their_order_whatever_way_they_took() -> None:
    first, second, third = ({**GOOD, "took": at} for at in range(3))
    script = Script(multi=[[first, third]], single=[(200, second)])
    mixed = [Search({"size": 0}), Search({"size": 1}, leg_scores=True), Search({"size": 2})]
    assert (await send(script, mixed))[0] == [first, second, third]
    assert script.sent[0][0] == {"preference": "mark", "include_named_queries_score": "true"} or script.sent[1][0]["include_named_queries_score"] == "true"


@pytest.mark.parametrize("part", [HALF, LATE])
async def test_a_part_is_an_error_unless_it_may_be_served_and_then_it_is_said(part: Any) -> None:
    with pytest.raises(PartialResultError, match="only in part"):
        await send(Script(multi=[[GOOD, part]]), searches(2))
    with pytest.raises(PartialResultError):
        await send(Script(single=[(200, part)]), searches(1))
    answers, partial = await send(Script(multi=[[GOOD, part]]), searches(2), allow_partial=True)
    assert answers == [GOOD, part]
    assert not partial[0]
    assert any("1 of 2 shards failed" in reason or "ran out of time" in reason for reason in partial[1])


async def test_only_what_was_refused_for_a_moment_is_sent_again() -> None:
    script = Script(multi=[[GOOD, BUSY, GOOD], [BUSY], [GOOD]])
    assert (await send(script, searches(3)))[0] == [GOOD, GOOD, GOOD]
    assert [len(lines) // 2 for lines in script.sent] == [3, 1, 1]


async def test_repeats_end_and_what_cannot_heal_is_not_repeated() -> None:
    busy = Script(multi=[[GOOD, BUSY]] + [[BUSY]] * 9)
    with pytest.raises(OverloadedError):
        await send(busy, searches(2))
    assert len(busy.sent) == 4
    wrong = Script(multi=[[BUSY, WRONG]])
    with pytest.raises(QueryError, match="unknown query"):
        await send(wrong, searches(2))


async def test_a_role_without_multi_search_is_served_one_by_one() -> None:
    script = Script(multi=[ServicePermissionError("no")], single=[(200, GOOD)] * 4)
    sender = Sender(script, SearchCfg(host=script.host, index_alias="docs"))  # type: ignore[arg-type]  # a script of it
    for _ in range(2):
        assert await sender.send(searches(2), ["", ""], [set(), set()]) == [GOOD, GOOD]
    assert len(script.sent) == 1 + 4


async def test_a_refusal_is_an_answer_only_where_it_was_allowed() -> None:
    (answer,), _ = await send(Script(single=[(400, WRONG)]), searches(1, refusable=True))
    assert answer == Refused("unknown query [hybrid]")
    with pytest.raises(QueryError):
        await send(Script(single=[(400, WRONG)]), searches(1))
