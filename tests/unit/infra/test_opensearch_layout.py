"""What an index must be like to be used: whose it is, what it keeps, how it is mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from src.infra.search.opensearch import fields
from src.infra.search.opensearch.versions.state import Version, building_alias, layout_differences, lost_fields, read_family
from src.infra.search_config import index_body

BODY = index_body(dims=4, embedder="m")


def version(change: Callable[[dict[str, Any]], object] = lambda _: None, *, like: dict[str, Any] = BODY) -> Version:
    """An index that was made with ``like`` and a change, as the cluster would show it."""
    body = json.loads(json.dumps(like))
    change(body)
    shown = {name: str(value) for name, value in body["settings"]["index"].items()}
    (found,) = read_family("docs", {"docs-000001": {"aliases": {"docs": {}}, "mappings": body["mappings"], "settings": {"index": shown}}}).versions
    return found


@pytest.mark.parametrize("like", [BODY, index_body(dims=4, embedder="m", language="german", size="large")])
def test_an_index_as_it_is_made_differs_in_nothing(like: dict[str, Any]) -> None:
    assert list(layout_differences(BODY, version(like=like))) == []
    assert list(lost_fields(BODY, version(like=like))) == []


def mapped(name: str, **mapping: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["mappings"]["properties"][name].update(mapping)


def said(**mapping: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["mappings"].update(mapping)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (mapped(fields.BODY, analyzer="standard"), "body has analyzer standard, not rag_body"),
        (mapped(fields.TITLE, analyzer="standard"), "title has analyzer standard, not rag_text"),
        (mapped(fields.CONTEXT, search_analyzer="standard"), "context has search_analyzer standard, not rag_query"),
        (mapped(fields.DOC_KEY, type="text"), "doc_key has type text, not keyword"),
        (said(dynamic="true"), "dynamic is true, not strict"),
        (said(dynamic=True), "dynamic is true, not strict"),
        (lambda body: body["mappings"].pop("dynamic"), "dynamic is true, not strict"),
        (lambda body: body["mappings"].pop("_source"), "_source does not exclude context, shown"),
        (lambda body: body["settings"]["index"].pop("max_result_window"), "max_result_window is 10000, not 100000"),
    ],
)
def test_what_an_index_does_otherwise_is_named_with_both_sides(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    assert list(layout_differences(BODY, version(change))) == [problem]


def test_a_larger_window_is_no_difference() -> None:
    assert list(layout_differences(BODY, version(lambda body: body["settings"]["index"].update(max_result_window=200_000)))) == []


@pytest.mark.parametrize(
    ("source", "lost"),
    [
        ({"excludes": [fields.CONTEXT, fields.SHOWN]}, []),
        ({}, []),
        ({"excludes": [fields.VECTOR]}, [fields.VECTOR]),
        ({"excludes": ["vec*", "payload.text"]}, [fields.VECTOR, fields.PAYLOAD]),
        ({"includes": ["*"]}, []),
        ({"includes": ["payload.*", "[a-u]*"], "excludes": ["title"]}, [fields.TITLE, fields.VECTOR]),
    ],
)
def test_fields_that_an_index_does_not_keep_are_named(source: dict[str, Any], lost: list[str]) -> None:
    assert list(lost_fields(BODY, version(said(_source=source)))) == lost


def test_an_index_without_source_keeps_nothing() -> None:
    assert set(lost_fields(BODY, version(said(_source={"enabled": False})))) == set(BODY["mappings"]["properties"]) - {fields.CONTEXT, fields.SHOWN}


def test_what_others_made_is_not_ours_and_never_being_built() -> None:
    answer = {"logs-000001": {"aliases": {building_alias("logs-000001", "x"): {}}, "mappings": {"properties": {}}, "settings": {}}}
    family = read_family("logs", answer)
    (foreign,) = family.versions
    assert (foreign.ours, family.built(foreign), family.next_name) == (False, None, "logs-000002")
    assert version().ours


@pytest.mark.parametrize(("blocks", "state", "others"), [({}, {}, False), ({"write": "true"}, {}, True), ({"write": "true"}, {"blocked": {}}, False)])
def test_a_block_that_no_reindex_announced_is_that_of_others(blocks: dict[str, str], state: dict[str, Any], others: bool) -> None:
    entry = {"mappings": {"_meta": {"founders_rag_state": state}}, "settings": {"index": {"blocks": blocks}}}
    assert read_family("docs", {"docs-000001": entry}).versions[0].blocked_by_others is others
