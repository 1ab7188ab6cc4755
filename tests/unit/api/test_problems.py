"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from src import errors
from src.api.problems import MEDIA_TYPE, STATUS, problem_of, respond_to, status_of
from src.telemetry.log_formats import JsonFormatter

SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/x y", "raw_path": b"/v1/x%20y", "state": {"request_id": "abc"}}


def kinds(base: type[errors.RagError]) -> Iterator[type[errors.RagError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def make(kind: type[errors.RagError]) -> errors.RagError:
    return kind("It failed.", hint="Do this.", **({"reason": "broken"} if kind is errors.DocumentError else {}))


@pytest.mark.parametrize(
    "kind",
    [kind for kind in kinds(errors.RagError) if kind.__init__ in {errors.RagError.__init__, errors.DocumentError.__init__}],
    ids=lambda kind: kind.__name__,
)
def test_every_error_of_ours_has_a_status_and_keeps_its_code_and_hint(kind: type[errors.RagError]) -> None:
    error = make(kind)
    body = problem_of(error, SCOPE)
    assert 400 <= status_of(error) < 600
    assert body["status"] == status_of(error)
    assert body["type"] == f"urn:rag:problem:{kind.code}"
    told = (kind.plain, None) if kind.plain else ("It failed.", "Do this.")
    assert (body["detail"], body.get("hint"), body["instance"], body["correlation_id"]) == (*told, "/v1/x%20y", "abc")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.FilterError, 400),
        (errors.PayloadTooLargeError, 413),
        (errors.AuthenticationError, 401),
        (errors.PermissionDeniedError, 403),
        (errors.NotFoundError, 404),
        (errors.ConflictError, 409),
        (errors.ServiceUnavailableError, 503),
        (errors.DeadlineExceededError, 504),
        (errors.StreamInterruptedError, 502),
        (errors.ModelCredentialsError, 502),
        (errors.ServiceCredentialsError, 502),
        (errors.ServicePermissionError, 502),
        (errors.IndexMissingError, 503),
        (errors.MappingConflictError, 503),
        (errors.UnreachableError, 503),
        (errors.TlsError, 503),
        (errors.OverloadedError, 503),
        (errors.ServerMemoryError, 503),
        (errors.WriteBlockedError, 503),
        (errors.PartialResultError, 503),
        (errors.StorageReadOnlyError, 500),
    ],
)
def test_statuses_are_those_that_the_error_tree_promises(kind: type[errors.RagError], status: int) -> None:
    assert status_of(kind("x")) == status


def test_a_kind_that_is_not_listed_has_its_parents_status() -> None:
    class NewError(errors.NotFoundError):
        code = "new"

    assert NewError not in STATUS
    assert status_of(NewError("x")) == 404


def test_what_is_not_ours_tells_nothing_but_its_correlation_id_and_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("password=hunter2 at /srv/secret")
    with caplog.at_level(logging.ERROR, "src.api.problems"):
        response = respond_to(error, SCOPE)
    assert response.status_code == 500
    assert response.media_type == MEDIA_TYPE
    assert b"hunter2" not in response.body
    assert b'"correlation_id":"abc"' in response.body
    (record,) = caplog.records
    assert record.rag_fields["correlation_id"] == "abc"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_what_the_caller_got_wrong_is_not_logged_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        respond_to(errors.NotFoundError("no"), SCOPE)
        respond_to(HTTPException(415, "no"), SCOPE)
    assert not caplog.records


def test_the_services_refusal_of_our_credential_is_not_the_callers_401() -> None:
    response = respond_to(errors.ModelCredentialsError("Refused (HTTP 401).", hop="https://model", setting="chat.api_key"), SCOPE)
    assert response.status_code == 502
    assert "www-authenticate" not in response.headers
    assert b'"setting":"chat.api_key"' in response.body


async def test_an_unexpected_error_inside_a_route_is_a_problem_too(client_of: Any) -> None:
    class Broken:
        async def search(self, *_: object, **__: object) -> None:
            raise RuntimeError("sqlite3 said: secret")

    async with client_of({"retriever": Broken()}) as client:
        response = await client.post("/v1/search", json={"query": "x"}, headers={"X-Request-ID": "mine-1"})
    assert response.status_code == 500
    assert response.headers["content-type"] == MEDIA_TYPE
    assert "secret" not in response.text
    assert response.json()["correlation_id"] == response.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize("given", ["x" * 65, "a b", "<script>", ""])
async def test_a_request_id_that_could_forge_log_lines_is_replaced(client_of: Any, given: str) -> None:
    async with client_of() as client:
        response = await client.get("/health/live", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"query": "x", "topk": 3}, ["'topk' is not a field here", "'top_k'"]),
        ({"query": "x", "top_k": "3"}, ["top_k"]),
        ({"query": "x", "top_k": 0}, ["top_k"]),
        ({"query": "  "}, ["query"]),
        ({}, ["query"]),
        ([], ["JSON object"]),
        ({"query": "x", "mode": "fuzzy"}, ["mode", "'bm25'"]),
        ({"query": "\ud800"}, ["not Unicode"]),
    ],
)
async def test_a_body_that_does_not_fit_is_a_422_that_names_each_field(client_of: Any, body: Any, words: list[str]) -> None:
    async with client_of() as client:
        response = await client.post("/v1/search", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = response.json()
    assert problem["errors"]
    for word in words:
        assert word in problem["detail"]


async def test_a_body_that_is_no_json_is_a_400_and_is_not_echoed(client_of: Any) -> None:
    async with client_of() as client:
        response = await client.post("/v1/search", content=b'{"query": "sec', headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["code"] == "bad-input"
    assert "sec" not in response.text.replace("unsecured", "")


async def test_a_malformed_filter_is_a_400_that_names_the_field_and_what_is_allowed(client_of: Any) -> None:
    async with client_of() as client:
        response = await client.post("/v1/search", json={"query": "x", "filters": {"year": {"above": 3}}})
    assert response.status_code == 400
    problem = response.json()
    assert problem["code"] == "bad-filter"
    assert "'year'" in problem["detail"]
    assert "gte" in problem["hint"]


async def test_an_unknown_path_and_a_wrong_method_say_what_there_is(client_of: Any) -> None:
    async with client_of() as client:
        missing = await client.get("/v1/nothing")
        wrong = await client.put("/v1/documents")
        unknown = await client.get("/v1/audio")
    assert (missing.status_code, wrong.status_code, unknown.status_code) == (404, 405, 404)
    assert wrong.headers["allow"] == "DELETE, GET, POST"
    assert {answer.headers["content-type"] for answer in (missing, wrong, unknown)} == {MEDIA_TYPE}


def test_what_a_service_said_of_secrets_and_people_does_not_reach_the_caller() -> None:
    error = errors.ServiceUnavailableError("It said: refused postgresql://rag:hunter2x@db for ann@example.com.", hint="Ask +44 20 7946 0958.")
    body = problem_of(error, SCOPE)
    assert body["detail"] == "It said: refused postgresql://[redacted:secret]@db for [redacted:email]."
    assert body["hint"] == "Ask [redacted:phone]."


def test_what_our_own_code_raised_unforeseen_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    said = "xyzzy-canary"
    try:
        int(said)
    except ValueError as error:
        respond_to(error, SCOPE)
    line = JsonFormatter().format(caplog.records[-1])
    assert "request failed" in line
    assert "ValueError: (text withheld)" in line
    assert "canary" not in line


def test_a_trail_that_cannot_be_written_tells_callers_no_path_and_the_log_all(caplog: pytest.LogCaptureFixture) -> None:
    error = errors.AuditError("The end of /srv/audit.jsonl is missing: /mnt/heads names record 7.", setting="audit.path", hint="Put /srv back.")
    body = json.loads(respond_to(error, SCOPE).body)
    assert (body["status"], body["code"]) == (503, "audit")
    assert not any(word in str(body) for word in ("/srv", "/mnt", "record 7"))
    assert "names record 7" in JsonFormatter().format(caplog.records[-1])
