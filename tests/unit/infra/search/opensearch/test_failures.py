"""What each answer of OpenSearch means. The bodies are those of 2.19.1, as measured, unless a name says otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.api.problems import status_of
from src.errors import (
    ConflictError,
    DeadlineExceededError,
    ForeignServiceError,
    IndexMismatchError,
    IndexMissingError,
    MappingConflictError,
    NotFoundError,
    OverloadedError,
    PartialResultError,
    PayloadTooLargeError,
    QueryError,
    RagError,
    ServerMemoryError,
    ServiceCredentialsError,
    ServicePermissionError,
    ServiceUnavailableError,
    UnreachableError,
    WriteBlockedError,
)
from src.infra.search.opensearch.wire.failures import check_whole, classify, item_failure

HOST = "https://search.example.com:9200"


def error(kind: str, reason: str, status: int, **more: Any) -> dict[str, Any]:
    cause = {"type": kind, "reason": reason, **more}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def wrapped(kind: str, reason: str, status: int) -> dict[str, Any]:
    """A search's error: the shards' own reason lies within."""
    cause = {"type": kind, "reason": reason}
    outer = {"type": "search_phase_execution_exception", "reason": "all shards failed", "phase": "query", "grouped": True}
    return {
        "error": {"root_cause": [], **outer, "failed_shards": [{"shard": 0, "index": "i", "node": "n", "reason": cause}], "caused_by": cause},
        "status": status,
    }


MISSING = error("index_not_found_exception", "no such index [nope]", 404, index="nope", index_uuid="_na_")
REQUIRED = error("index_not_found_exception", "no such index [x] and [require_alias] request flag is [true] and [x] is not an alias", 404)
NO_ALIAS = {"error": "alias [x] missing", "status": 404}
STRICT = error("strict_dynamic_mapping_exception", "mapping set to strict, dynamic introduction of [zz] within [_doc] is not allowed", 400)
PARSING = error("mapper_parsing_exception", "failed to parse field [n] of type [long] in document with id '1'. Preview of field's value: 'secret words'", 400)
CHANGED = error("illegal_argument_exception", "mapper [a] cannot be changed from type [text] to [keyword]", 400)
DIMENSION = wrapped("query_shard_exception", "failed to create query: Query vector has invalid dimension: 3. Dimension should be: 384", 400)
UNKNOWN = error("parsing_exception", "unknown query [hybrid]", 400)
CLOSED = error("index_closed_exception", "closed", 400)
PLAIN_503 = "OpenSearch Security not initialized."
FORBIDDEN = error("security_exception", "no permissions for [indices:data/read/search] and User [name=reader, backend_roles=[], requestedTenant=null]", 403)
POOL = error("rejected_execution_exception", "rejected execution of org.opensearch.common.util.concurrent.TimedRunnable@2 on OpenSearchThreadPoolExecutor", 429)
PRESSURE = (
    "rejected execution of coordinating operation [coordinating_and_primary_bytes={held}, replica_bytes=0, all_bytes={held}, "
    "coordinating_operation_bytes={size}, max_coordinating_and_primary_bytes=53687091]"
)
FLOOD = "index [docs] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"
MEMORY = "[parent] Data too large, data for [<http_request>] would be [{would}/1gb], which is larger than the limit of [1020054732/972.7mb], "
MEMORY += "real usage: [{used}/800mb], new bytes reserved: [{new}/1mb], usages [request=0/0b, fielddata=0/0b]"


def memory(new: int, durability: str) -> dict[str, Any]:
    reason = MEMORY.format(would=1_000_000_000 + new, used=1_000_000_000, new=new)
    return error("circuit_breaking_exception", reason, 429, bytes_wanted=1, bytes_limit=2, durability=durability)


CASES: list[tuple[str, int, Any, type[RagError], bool]] = [
    ("missing index", 404, MISSING, IndexMissingError, False),
    ("missing alias of a write", 404, REQUIRED, IndexMissingError, False),
    ("missing alias", 404, NO_ALIAS, IndexMissingError, False),
    ("strict mapping", 400, STRICT, MappingConflictError, False),
    ("unparsable field", 400, PARSING, MappingConflictError, False),
    ("changed field", 400, CHANGED, MappingConflictError, False),
    ("dimension", 400, DIMENSION, IndexMismatchError, False),
    ("unknown query", 400, UNKNOWN, QueryError, False),
    ("closed index", 400, CLOSED, ServiceUnavailableError, False),
    ("no credentials", 401, "Unauthorized", ServiceCredentialsError, False),
    ("no permission", 403, FORBIDDEN, ServicePermissionError, False),
    ("AWS: expired token", 403, {"message": "The security token included in the request is expired"}, ServiceCredentialsError, False),
    ("AWS: no policy", 403, {"Message": "User: arn:aws:iam::1:role/x is not authorized to perform: es:ESHttpGet"}, ServicePermissionError, False),
    ("not found", 404, {"_index": "docs", "_id": "9", "found": False}, NotFoundError, False),
    ("someone else's 404", 404, "<html>nginx</html>", ForeignServiceError, False),
    ("version conflict", 409, error("version_conflict_engine_exception", "[1]: version conflict", 409), ConflictError, False),
    ("index exists", 400, error("resource_already_exists_exception", "index [docs/x] already exists", 400), ConflictError, False),
    ("too long a body", 413, None, PayloadTooLargeError, False),
    ("AWS: too long a body", 413, {"Message": "Request size exceeded 10485760 bytes"}, PayloadTooLargeError, False),
    ("full queue", 429, POOL, OverloadedError, True),
    ("full queue of a search", 429, wrapped("rejected_execution_exception", "rejected execution", 429), OverloadedError, True),
    ("gateway's 429", 429, "Too Many Requests", OverloadedError, True),
    ("indexing pressure", 429, error("rejected_execution_exception", PRESSURE.format(held=53_000_000, size=900_000), 429), OverloadedError, True),
    ("larger than the pressure limit", 429, error("rejected_execution_exception", PRESSURE.format(held=0, size=60_000_000), 429), PayloadTooLargeError, False),
    ("flood stage", 429, error("cluster_block_exception", FLOOD, 429), WriteBlockedError, False),
    ("write block", 403, error("cluster_block_exception", "index [docs] blocked by: [FORBIDDEN/8/index write (api)];", 403), WriteBlockedError, False),
    (
        "cluster starting",
        503,
        error("cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];", 503),
        ServiceUnavailableError,
        True,
    ),
    ("memory, for now", 429, memory(1_000_000, "TRANSIENT"), ServerMemoryError, True),
    ("memory, for good", 429, memory(1_000_000, "PERMANENT"), ServerMemoryError, False),
    ("memory, larger than the limit", 429, memory(2_000_000_000, "TRANSIENT"), ServerMemoryError, False),
    ("security starting", 503, PLAIN_503, ServiceUnavailableError, True),
    ("shards starting", 503, {"error": {"type": "search_phase_execution_exception", "reason": "all shards failed"}}, ServiceUnavailableError, True),
    ("bad gateway", 502, "<html>502</html>", ServiceUnavailableError, True),
    ("gateway timeout", 504, "<html>504</html>", DeadlineExceededError, True),
    ("server error", 500, error("null_pointer_exception", "x", 500), ServiceUnavailableError, False),
    (
        "cancelled by time",
        500,
        wrapped("task_cancelled_exception", "cancelled task with reason: Cancellation timeout of 1ms is expired", 500),
        DeadlineExceededError,
        False,
    ),
    (
        "cancelled by backpressure",
        500,
        wrapped("task_cancelled_exception", "cancelled task with reason: cpu usage exceeded, resource limits met", 500),
        OverloadedError,
        True,
    ),
    ("proxy", 407, None, UnreachableError, False),
    ("redirect", 302, "", ForeignServiceError, False),
    ("another service", 200, "<html>Welcome</html>", ForeignServiceError, False),
    ("another service's refusal", 405, "Method Not Allowed", ForeignServiceError, False),
]


@pytest.mark.parametrize(("status", "body", "kind", "transient"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_answer_is_exactly_one_error_that_names_host_and_index(status: int, body: Any, kind: type[RagError], transient: bool) -> None:
    failure = classify(status, body, HOST, "docs")
    assert type(failure.error) is kind
    assert failure.transient is transient
    assert HOST in str(failure.error)
    about_the_index = not isinstance(failure.error, (ServiceCredentialsError, ForeignServiceError, UnreachableError)) and "cluster is not ready" not in str(
        failure.error
    )
    if about_the_index or isinstance(failure.error, ServicePermissionError):
        assert "docs" in str(failure.error)
    assert failure.error.message.endswith(".")
    assert not failure.error.message.endswith(("..", ";.", ": ."))


@pytest.mark.parametrize(("status", "body"), [case[1:3] for case in CASES], ids=[case[0] for case in CASES])
def test_the_api_never_answers_its_caller_with_a_status_about_our_own_credentials(status: int, body: Any) -> None:
    answered = status_of(classify(status, body, HOST, "docs").error)
    assert answered not in (401, 403)


def test_only_silence_and_gateways_count_against_the_host() -> None:
    counted = {name for name, status, body, _, _ in CASES if classify(status, body, HOST).counts}
    assert counted == {"cluster starting", "security starting", "shards starting", "bad gateway", "gateway timeout"}


def test_previews_of_field_values_are_not_repeated_and_long_reasons_are_cut() -> None:
    assert "secret" not in str(classify(400, PARSING, HOST, "docs").error)
    assert len(classify(400, error("parsing_exception", "x" * 100_000, 400), HOST).error.message) < 600


def test_the_durability_of_a_memory_breaker_is_told() -> None:
    passing, lasting = classify(429, memory(1, "TRANSIENT"), HOST).error, classify(429, memory(1, "PERMANENT"), HOST).error
    assert isinstance(passing, ServerMemoryError)
    assert isinstance(lasting, ServerMemoryError)
    assert (passing.permanent, lasting.permanent) == (False, True)
    assert "permanent" in lasting.message


def test_what_the_server_asks_to_wait_is_kept() -> None:
    assert classify(429, POOL, HOST, retry_after_s=7).retry_after_s == 7


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "type", "reason", "root_cause", "caused_by", "failed_shards", "status", "message", "durability", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(status=st.integers(200, 599), body=values)
def test_no_answer_however_odd_is_anything_but_one_error(status: int, body: Any) -> None:
    failure = classify(status, body, HOST, "docs")
    assert isinstance(failure.error, RagError)
    assert HOST in failure.error.hop
    if failure.transient:
        assert isinstance(failure.error, ServiceUnavailableError)
    if 400 <= status < 500 and status != 429:
        assert not failure.counts or isinstance(body, dict)


def test_an_item_that_went_well_is_no_failure() -> None:
    assert item_failure({"took": 1, "hits": {"hits": []}, "status": 200}, HOST) is None
    assert item_failure({"_index": "docs", "_id": "1", "status": 201, "result": "created"}, HOST) is None


def test_items_of_a_bulk_and_of_a_multi_search_are_told_like_whole_answers() -> None:
    refused = item_failure({"_index": "docs", "_id": "1", "status": 429, "error": POOL["error"]}, HOST)
    missing = item_failure(MISSING, HOST, "nope")
    forbidden = item_failure({"error": FORBIDDEN["error"], "status": 403}, HOST, "docs")
    assert refused is not None
    assert refused.transient
    assert isinstance(refused.error, OverloadedError)
    assert missing is not None
    assert isinstance(missing.error, IndexMissingError)
    assert forbidden is not None
    assert isinstance(forbidden.error, ServicePermissionError)


CANCELLED = {"shard": 0, "index": "docs-000001", "node": "n", "reason": {"type": "task_cancelled_exception", "reason": "cancelled task"}}
PARTS = [
    (
        {"_shards": {"total": 2, "successful": 1, "failed": 1, "failures": [CANCELLED]}, "timed_out": False},
        r"1 of 2 shards failed \(task_cancelled_exception\)",
    ),
    ({"_shards": {"total": 1, "successful": 1, "failed": 0}, "timed_out": True}, "the server ran out of time"),
]


@pytest.mark.parametrize(("answer", "why"), PARTS)
def test_a_partial_answer_is_an_error_and_never_passed_off_as_whole(answer: dict[str, Any], why: str) -> None:
    with pytest.raises(PartialResultError, match=why) as raised:
        check_whole(answer, allow_partial=False, host=HOST, index="docs")
    assert HOST in str(raised.value)
    assert "docs" in str(raised.value)
    assert status_of(raised.value) == 503


@pytest.mark.parametrize("answer", [answer for answer, _ in PARTS])
def test_where_partial_answers_are_allowed_they_say_what_is_missing(answer: dict[str, Any]) -> None:
    assert len(check_whole(answer, allow_partial=True)) == 1


def test_a_whole_answer_passes() -> None:
    assert check_whole({"_shards": {"total": 2, "successful": 2, "skipped": 0, "failed": 0}, "timed_out": False}, allow_partial=False) == ()
