"""What an answer of OpenSearch that is no success means: exactly one error, and whether a repeat may help. Pure.

The words of 2.19 stand in the tests, as measured. Reasons are repeated shortened, and without the previews of field values that
OpenSearch puts into some: those may hold document text. What is not JSON is never repeated, see `Refusal.text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from .....errors import (
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
    WriteBlockedError,
)
from ....hops import Hop, error_of, foreign
from ....network.faults import Fault
from .aws import aws_refusal
from .refusals import Refusal, causes, shortened, without_account

if TYPE_CHECKING:
    from ....config import SearchCfg

_BYTES = re.compile(r"operation_bytes=(\d+).*?max_coordinating_and_primary_bytes=(\d+)", re.DOTALL)
_LIMIT = re.compile(r"larger than the limit of \[(\d+)/.*?new bytes reserved: \[(\d+)/", re.DOTALL)
_UNAVAILABLE: Final = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request did not go well."""

    error: RagError
    transient: bool = False
    """The same request may go well in a moment."""
    counts: bool = False
    """The host itself failed: it counts towards opening its breaker."""
    silence: float | None = None
    """How much of a failure it is that no answer came in the time there was, from 0 to 1; None where it failed otherwise."""
    unsent: bool = False
    """Nothing reached the server, so that even a write may be sent elsewhere."""
    unknown: bool = False
    """There was no answer, and it says nothing of the host."""
    retry_after_s: float | None = None


def classify(status: int, body: object, host: str, index: str = "", *, retry_after_s: float | None = None, credential: str = "search.username") -> Failure:
    """The failure that an answer stands for.

    Args:
        status: of the answer, or of one item of a bulk or a multi-search.
        body: the decoded body, or text where it is not JSON.
        host: `scheme://host:port`, for the error; no credentials.
        index: that was asked, for the error.
        retry_after_s: what the server asked to wait.
        credential: the key of the credential that was shown.
    """
    refusal = Refusal(status, tuple(causes(body)), "" if isinstance(body, Mapping) else str(body or ""), host, index, credential)
    rules = (*_BY_CAUSE, _BY_STATUS.get(status, _by_range))
    failure = next(found for rule in rules if (found := rule(refusal)) is not None)
    if retry_after_s is None:
        return failure
    return replace(failure, retry_after_s=retry_after_s)


def item_failure(item: Mapping[str, Any], host: str, index: str = "") -> Failure | None:
    """The failure of one answer of a multi-search or one item of a bulk; None where it went well."""
    status = item.get("status")
    if "error" not in item and not (isinstance(status, int) and status >= 400):
        return None
    return classify(status if isinstance(status, int) else 500, item, host, str(item.get("_index") or index))


def check_whole(answer: Mapping[str, Any], allow_partial: bool, *, host: str = "", index: str = "") -> tuple[str, ...]:
    """Why an answer to one search is only a part of it; empty where it is whole.

    Args:
        answer: a search's answer, or one of a multi-search that `item_failure` let pass.
        allow_partial: return the reasons, for `degraded`, instead of raising.

    Raises:
        PartialResultError: some shards failed, or the server cut the search short.
    """
    shards = answer.get("_shards")
    failed = shards.get("failed", 0) if isinstance(shards, Mapping) else 0
    late = answer.get("timed_out") is True
    if not failed and not late:
        return ()
    total = shards.get("total", 0) if isinstance(shards, Mapping) else 0
    kinds = sorted({kind for kind, _, _ in causes(shards) if kind}) if failed else []
    reasons = []
    if failed:
        reasons.append(f"{failed} of {total} shards failed" + (f" ({', '.join(kinds)})" if kinds else ""))
    if late:
        reasons.append("the server ran out of time")
    if allow_partial:
        return tuple(reasons)
    raise PartialResultError(
        f"OpenSearch answered only in part{f' for the index {index!r}' if index else ''}: {'; '.join(reasons)}.",
        hop=host,
        setting="search.allow_partial",
        hint="Try again, look at the cluster's health, or set it to serve what there is, marked as degraded.",
    )


def _index_missing(refusal: Refusal) -> Failure | None:
    found = refusal.cause("index_not_found_exception", "aliases_not_found_exception")
    missing = refusal.status == 404 and any(reason.startswith("alias [") for _, reason, _ in refusal.causes)
    if found is None and not missing:
        return None
    name = refusal.index or str(found[2].get("index") or "") if found else refusal.index
    return Failure(
        IndexMissingError(
            f"OpenSearch has no index or alias {name!r}.",
            hop=refusal.host,
            setting="search.index_alias",
            hint="Make it with `rag index create` or `rag ingest`, or name the one that exists.",
        )
    )


def _mapping(refusal: Refusal) -> Failure | None:
    found = refusal.cause("strict_dynamic_mapping_exception", "mapper_parsing_exception", "document_parsing_exception")
    changed = refusal.status == 400 and any("cannot be changed from type" in reason for _, reason, _ in refusal.causes)
    if found is None and not changed:
        return None
    return Failure(
        MappingConflictError(
            # The outermost reason: those within quote the value, which may be document text.
            f"The index's mapping does not fit what is written to it{refusal.where}: {shortened((found or refusal.causes[0])[1])}.",
            hop=refusal.host,
            setting="search.index_alias",
            hint="Make a new index with `rag index reindex`, or name another alias.",
        )
    )


def _dimensions(refusal: Refusal) -> Failure | None:
    if refusal.status != 400 or not any("invalid dimension" in reason.lower() for _, reason, _ in refusal.causes):
        return None
    return Failure(
        IndexMismatchError(
            f"The vectors do not fit the index{refusal.where}: {refusal.reason}.",
            hop=refusal.host,
            setting="embed.model",
            hint="Search with the model that the index was made with, or build the index anew: `rag ingest --rebuild PATH…`.",
        )
    )


def _memory(refusal: Refusal) -> Failure | None:
    found = refusal.cause("circuit_breaking_exception")
    if found is None:
        return None
    _, reason, cause = found
    durability = str(cause.get("durability") or "TRANSIENT").upper()
    limits = _LIMIT.search(reason)
    permanent = durability == "PERMANENT" or (limits is not None and int(limits[2]) > int(limits[1]))
    error = ServerMemoryError(
        f"OpenSearch's memory circuit breaker refused the request{refusal.where} ({durability.lower()}): {shortened(reason)}.",
        hop=refusal.host,
        hint="Make the request smaller, or give the cluster more heap." if permanent else "Try again later; if it keeps happening, give the cluster more heap.",
    )
    error.permanent = permanent
    return Failure(error, transient=not permanent)


def _blocked(refusal: Refusal) -> Failure | None:
    found = refusal.cause("cluster_block_exception")
    if found is None:
        return None
    reason = shortened(found[1])
    if "SERVICE_UNAVAILABLE" in found[1] or refusal.status == 503:
        error = ServiceUnavailableError(f"The OpenSearch cluster is not ready: {reason}.", hop=refusal.host, hint="Try again once it has started.")
        return Failure(error, transient=True, counts=True)
    flood = "FORBIDDEN/12" in found[1] or "TOO_MANY_REQUESTS/12" in found[1]
    hint = (
        "Free disk space on the cluster; it lifts the block by itself then."
        if flood
        else "A reindex lifts the block that it set when it ends; what an operator blocked, an operator must lift."
    )
    return Failure(WriteBlockedError(f"OpenSearch takes no writes{refusal.where}: {reason}.", hop=refusal.host, hint=hint))


def _rejected(refusal: Refusal) -> Failure | None:
    found = refusal.cause("rejected_execution_exception", "opensearch_rejected_execution_exception")
    if found is None:
        return None
    sizes = _BYTES.search(found[1])
    if sizes is not None and int(sizes[1]) > int(sizes[2]):
        return Failure(_too_large(refusal, f"{sizes[1]} bytes, where the cluster's indexing pressure allows {sizes[2]}"))
    return Failure(_overloaded(refusal), transient=True)


def _cancelled(refusal: Refusal) -> Failure | None:
    found = refusal.cause("task_cancelled_exception")
    if found is None:
        return None
    if any("resource" in reason.lower() or "backpressure" in reason.lower() for _, reason, _ in refusal.causes):
        return Failure(_overloaded(refusal), transient=True)
    return Failure(
        DeadlineExceededError(
            f"OpenSearch cancelled the search{refusal.where}: {shortened(found[1])}.",
            hop=refusal.host,
            setting="search.timeout_s",
            hint="Try again, or allow more time.",
        )
    )


def _closed(refusal: Refusal) -> Failure | None:
    if refusal.cause("index_closed_exception") is None:
        return None
    return Failure(
        ServiceUnavailableError(f"The index is closed{refusal.where}.", hop=refusal.host, setting="search.index_alias", hint="Open it, or name another alias.")
    )


def _conflict(refusal: Refusal) -> Failure | None:
    found = refusal.cause("version_conflict_engine_exception", "resource_already_exists_exception")
    if found is None and refusal.status != 409:
        return None
    return Failure(ConflictError(f"Another writer was there first{refusal.where}{refusal.because}.", hop=refusal.host))


def _too_large(refusal: Refusal, why: str) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The request{refusal.where} is larger than OpenSearch takes: {why}.", hop=refusal.host, setting="search.bulk_bytes", hint="Send less at once."
    )


def _overloaded(refusal: Refusal) -> OverloadedError:
    return OverloadedError(
        f"OpenSearch has no room for the request now{refusal.where}: {refusal.reason or f'HTTP {refusal.status}'}.",
        hop=refusal.host,
        setting="search.max_retries",
        hint="Try again later; if it keeps happening, send less at once or add nodes; more repeats wait longer.",
    )


def _bad_request(refusal: Refusal) -> Failure:
    if not refusal.causes:
        return Failure(not_opensearch(refusal.host, f"HTTP {refusal.status}"))
    return Failure(QueryError(f"OpenSearch cannot use the request{refusal.where}{refusal.because}.", hop=refusal.host))


def _unauthenticated(refusal: Refusal) -> Failure:
    if refusal.page:
        return Failure(not_opensearch(refusal.host, "HTTP 401, a web page"))
    return Failure(
        ServiceCredentialsError(
            "OpenSearch does not accept this server's credential (HTTP 401).",
            hop=refusal.host,
            setting=refusal.credential,
            hint="Check [search] username and password, bearer_token or use_aws_auth, and the client certificate of [network].",
        )
    )


def _forbidden(refusal: Refusal) -> Failure:
    if refusal.page:  # of what intercepts, or of a login: OpenSearch says no in JSON, or in a line of text
        return Failure(not_opensearch(refusal.host, "HTTP 403, a web page"))
    # The security plugin's own 403 names indices and users, whatever they are called.
    if refusal.cause("security_exception") is None and (credential := aws_refusal(refusal.reason, refusal.host)):
        return Failure(credential)
    error = ServicePermissionError(
        f"OpenSearch does not let this server do that{refusal.where} (HTTP 403): {without_account(refusal.reason) or 'no reason given'}.",
        hop=refusal.host,
        setting="search.index_alias" if refusal.index else refusal.credential,
        hint="Give its user or role the permission, on the index behind the alias too.",
    )
    error.said = refusal.reason
    return Failure(error)


def _not_found(refusal: Refusal) -> Failure:
    if refusal.text:
        return Failure(not_opensearch(refusal.host, "HTTP 404"))
    return Failure(NotFoundError(f"OpenSearch has nothing there{refusal.where}{refusal.because}.", hop=refusal.host))


def not_opensearch(host: str, what: str) -> ForeignServiceError:
    """The error of an answer that OpenSearch does not give: a web page, a login, another service."""
    return foreign(opensearch_hop(host), what)


def _proxy(refusal: Refusal) -> Failure:
    return Failure(error_of(Fault("proxy-auth", at_proxy=True, status=refusal.status), opensearch_hop(refusal.host)), unsent=True)


def opensearch_hop(host: str) -> Hop:
    """The way to a host of the cluster, for errors."""
    return Hop("OpenSearch", host, "search.host", "search.timeout_s", "search.connect_timeout_s", repeats_setting="search.max_retries")


def credential_setting(cfg: SearchCfg) -> str:
    """The key of the credential that `[search]` shows to the cluster."""
    if cfg.use_aws_auth:
        return "search.use_aws_auth"
    return "search.bearer_token" if cfg.bearer_token else "search.username"


def _large(refusal: Refusal) -> Failure:
    return Failure(_too_large(refusal, f"HTTP 413{f', {refusal.reason}' if refusal.reason else ''}"))


def _busy(refusal: Refusal) -> Failure:
    return Failure(_overloaded(refusal), transient=True)


def _gateway_timeout(refusal: Refusal) -> Failure:
    error = DeadlineExceededError(
        f"A gateway before OpenSearch waited in vain{refusal.where} (HTTP 504).",
        hop=refusal.host,
        setting="search.host",
        hint="Look at the cluster's load, and at the gateway.",
    )
    return Failure(error, transient=True, counts=True)


def _unavailable(refusal: Refusal) -> Failure:
    if "not initialized" in refusal.text:
        hint = "The security plugin is starting; if it stays so, run its securityadmin tool."
    elif refusal.cause("search_phase_execution_exception", "no_shard_available_action_exception"):
        hint = "No shard of the index can answer: it is still starting, or look at the cluster's health."
    else:
        hint = "Try again later; look at the cluster's health."
    text = f"OpenSearch is not available{refusal.where} (HTTP {refusal.status}){refusal.because}."
    error = ServiceUnavailableError(text, hop=refusal.host, setting="search.host", hint=hint)
    return Failure(error, transient=True, counts=refusal.status in _UNAVAILABLE)


def _by_range(refusal: Refusal) -> Failure:
    if 300 <= refusal.status < 400:
        hint = "Name its final address; if that is a login, the way to the cluster must not lead past it."
        text = f"OpenSearch's address redirects elsewhere (HTTP {refusal.status}): what answered is not OpenSearch."
        return Failure(ForeignServiceError(text, hop=refusal.host, setting="search.host", hint=hint))
    if refusal.status < 300:
        return Failure(not_opensearch(refusal.host, f"HTTP {refusal.status}"))
    if refusal.status < 500:
        return _bad_request(refusal)
    # Not repeated and not counted: a 500 is what one request brought about, and it would again.
    text, hint = f"OpenSearch failed{refusal.where} (HTTP {refusal.status}){refusal.because}.", "Its log tells more."
    return Failure(ServiceUnavailableError(text, hop=refusal.host, setting="search.host", hint=hint))


_Rule = Callable[[Refusal], Failure | None]
_BY_CAUSE: tuple[_Rule, ...] = (_index_missing, _memory, _blocked, _rejected, _cancelled, _closed, _mapping, _dimensions, _conflict)
_BY_STATUS: Mapping[int, _Rule] = {
    400: _bad_request,
    401: _unauthenticated,
    403: _forbidden,
    404: _not_found,
    407: _proxy,
    413: _large,
    429: _busy,
    502: _unavailable,
    503: _unavailable,
    504: _gateway_timeout,
}
