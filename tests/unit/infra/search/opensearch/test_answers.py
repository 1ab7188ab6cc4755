"""What counts as OpenSearch's answer, and what of anything else is told."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from src.api.problems import log_problem, problem_of, status_of
from src.errors import ForeignServiceError, RagError, ServicePermissionError, UnreachableError
from src.infra.search.opensearch.wire.answers import understood
from src.infra.search.opensearch.wire.connection import Answer
from src.infra.search.opensearch.wire.failures import Failure, classify
from src.infra.search.opensearch.wire.serializer import loads

HOST = "https://search.example.com:9200"
CANARY = "CANARY-s3cr3t-9f"


def read(body: bytes, status: int = 200, kind: str = "application/json", *, method: str = "POST", path: str = "/docs/_search", **headers: str) -> Any:
    head = CIMultiDict({"content-type": kind, "content-length": str(len(body)), **headers})
    return understood(Answer(status, head, body), loads, method=method, path=path, host=HOST, index="docs")


@pytest.mark.parametrize("path", ["/docs/_search", "/docs/_msearch", "/docs/_bulk", "/docs/_mget", "/docs/_count", "/docs,docs-*"])
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 200, "application/json"),
        (b"", 204, ""),
        (b"", 101, ""),
        (b"null", 200, "application/json"),
        (b"[]", 200, "application/json"),
        (b'"hello"', 200, "application/json"),
        (b'{"status":"ok"}', 200, "application/json"),
        (b"OK", 200, "text/plain"),
        (b"<html>Log in</html>", 200, "text/html"),
        (b"<html>Log in</html>", 200, "application/json"),
        (b"", 302, ""),
        (b"xxxx", 200, "application/json"),
    ],
)
def test_what_is_no_answer_of_opensearch_is_one_error_that_is_not_repeated(path: str, body: bytes, status: int, kind: str) -> None:
    found = read(body, status, kind, method="GET" if path.endswith("*") else "POST", path=path)
    assert isinstance(found, Failure)
    assert isinstance(found.error, ForeignServiceError)
    assert "not OpenSearch" in found.error.message
    assert found.error.setting == "search.host"
    assert status_of(found.error) == 502
    assert not found.transient
    assert not found.counts


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("POST", "/docs/_search", {"took": 1, "hits": {"hits": []}}),
        ("POST", "/docs/_search/point_in_time", {"pit_id": "x"}),
        ("DELETE", "/_search/point_in_time", {"pits": []}),
        ("POST", "/docs/_bulk", {"errors": False}),
        ("POST", "/docs/_count", {"count": 0}),
        ("POST", "/docs/_refresh", {"_shards": {}}),
        ("GET", "/docs,docs-*", {}),
        ("GET", "/docs,docs-*", {"docs-000001": {"aliases": {}}}),
        ("GET", "/docs/_doc/1", {"_id": "1", "found": True}),
        ("PUT", "/docs", {"acknowledged": True}),
        ("PUT", "/docs/_mapping", {"acknowledged": True}),
        ("GET", "/docs/_mapping", {"docs": {"mappings": {}}}),
        ("PUT", "/docs/_doc/1", {"result": "created"}),
        ("GET", "/_cat/indices/docs", []),
    ],
)
def test_answers_of_opensearch_pass(method: str, path: str, value: Any) -> None:
    assert read(json.dumps(value).encode(), method=method, path=path) == (200, value)


def test_the_answer_to_head_has_no_body_and_lists_of_names_may_be_text() -> None:
    assert read(b"", method="HEAD", path="/docs") == (200, None)
    assert read(b"docs\n", kind="text/plain", method="GET", path="/_cat/indices") == (200, "docs\n")


def test_only_what_says_not_where_it_ends_may_have_broken_off() -> None:
    cut = b'{"hits":'
    head = CIMultiDict({"content-type": "application/json", "connection": "close"})
    found = understood(Answer(200, head, cut), loads, method="POST", path="/docs/_search", host=HOST)
    assert isinstance(found, Failure)
    assert isinstance(found.error, UnreachableError)
    assert (found.transient, found.counts) == (True, True)
    whole = read(cut)
    assert isinstance(whole, Failure)
    assert (whole.transient, whole.counts) == (False, False), "a whole one is not asked for again: it would come the same"


@given(
    status=st.integers(200, 599), body=st.sampled_from([f"you sent: authorization: Bearer {CANARY}", f"<html>{CANARY}</html>", f'"{CANARY}"', f'["{CANARY}"]'])
)
def test_what_is_no_json_object_is_never_repeated(status: int, body: str) -> None:
    found = read(body.encode(), status, "text/plain")
    error = found.error if isinstance(found, Failure) else classify(status, found[1], HOST, "docs").error
    assert CANARY not in repr(error) + str(error) + error.hint


@pytest.mark.parametrize(
    "said",
    [
        f"'x' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer {CANARY}'.",
        f"The request signature does not match.\n\nThe Canonical String for this request should have been\n'POST\nx-amz-security-token:{CANARY}\n",
        f"Authorization header requires 'Credential' parameter. Authorization=AWS4-HMAC-SHA256 Credential={CANARY}",
        f"you sent authorization: Basic {CANARY}",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_headers_that_json_echoes_are_cut_off(said: str, status: int) -> None:
    error = classify(status, {"message": said}, HOST).error
    assert CANARY not in str(error) + str(getattr(error, "said", ""))


@pytest.mark.parametrize(
    ("body", "account"),
    [
        (
            {"error": {"type": "security_exception", "reason": "no permissions for [indices:data/read/search] and User [name=nobody, backend_roles=[]]"}},
            "nobody",
        ),
        ({"Message": "User: arn:aws:iam::1:role/hidden is not authorized to perform: es:ESHttpGet"}, "hidden"),
    ],
)
def test_the_account_of_this_server_stands_in_its_log_and_not_in_its_answers(body: Any, account: str, caplog: pytest.LogCaptureFixture) -> None:
    error = classify(403, body, HOST, "docs").error
    assert isinstance(error, ServicePermissionError)
    answer = problem_of(error, {"type": "http"})
    assert account not in json.dumps(answer)
    assert "es:ESHttpGet" in error.message or "indices:data/read/search" in error.message, "what is lacking is told"
    with caplog.at_level(logging.ERROR):
        log_problem(error, answer)
    assert account in error.said


@given(st.binary(max_size=200), st.integers(100, 599), st.sampled_from(["application/json", "text/html", "text/plain", ""]), st.sampled_from(["GET", "POST"]))
def test_of_a_success_nothing_but_an_object_is_handed_on(body: bytes, status: int, kind: str, method: str) -> None:
    found = read(body, status, kind, method=method)
    if isinstance(found, Failure):
        assert isinstance(found.error, RagError)
    else:
        assert isinstance(found[1], dict) or 400 <= found[0] < 500
