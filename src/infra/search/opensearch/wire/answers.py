"""What an answer is: its value where OpenSearch gave it, and a failure where it did not or something else answered. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .....errors import UnreachableError
from ....resilience.retry import retry_after
from .failures import Failure, classify, not_opensearch

if TYPE_CHECKING:
    from .connection import Answer

_RAISED: Final = frozenset({401, 403, 407, 429})
"""Below 500, and failures even to those who look at the status themselves."""
_SIGNS: Final[Mapping[str, tuple[str, ...]]] = {
    "_search": ("hits", "took"),
    "_msearch": ("responses", "took"),
    "_bulk": ("items", "errors", "took"),
    "_mget": ("docs",),
    "_count": ("count",),
    "_refresh": ("_shards",),
    "point_in_time": ("pit_id", "pits"),
    "_mapping": ("acknowledged",),
    "_settings": ("acknowledged",),
    "_aliases": ("acknowledged",),
    "write": ("acknowledged",),  # _block/write
    "store": ("_shards", "_all"),  # _stats/store
}
"""What tells OpenSearch's answer about an index from a gateway's ``{"status": "ok"}``, by the end of the path; one of them is there."""


def understood(
    answer: Answer, loads: Callable[[bytes], Any], *, method: str, path: str, host: str, index: str = "", credential: str = "search.username"
) -> tuple[int, Any] | Failure:
    """Status and value where OpenSearch answered, for better or worse; a failure else.

    Args:
        loads: decodes JSON; ValueError where it is none.
        method: of the request, as is `path`.
        host: `scheme://host:port`, for errors; no credentials.
        index: that the request is about; where it is about one, the answer has to look like it.
        credential: the key of the credential that was shown, for errors.
    """
    status = answer.status
    try:
        value, is_json = (loads(answer.body) if answer.body else None), bool(answer.body)
    except ValueError:
        value, is_json = answer.body[:2000].decode("utf-8", "replace"), False
    if 400 <= status < 500 and status not in _RAISED:
        return status, value
    if not 200 <= status < 300:
        wait_s = retry_after(answer.headers.get("retry-after"), time.time())
        return classify(status, value, host, index, retry_after_s=wait_s, credential=credential)
    if method == "HEAD":
        return status, None
    kind = answer.headers.get("content-type", "")
    if path.startswith("/_cat/") and (isinstance(value, list) or kind.startswith("text/plain")):
        return status, value if is_json else answer.body.decode("utf-8", "replace")
    if not is_json and "json" in kind and not _measured(answer.headers):
        error = UnreachableError("OpenSearch's answer broke off.", hop=host, setting="search.host", hint="Try again; look at what lies before the cluster.")
        return Failure(error, transient=True, counts=True)
    if isinstance(value, dict) and (not index or _looks_right(method, path, value)):
        return status, value
    what = "an unknown answer" if isinstance(value, dict) else "no JSON object" if is_json else "a body that is not JSON" if answer.body else "no body"
    return Failure(not_opensearch(host, f"HTTP {status}, {what}"))


def _measured(headers: Mapping[str, str]) -> bool:
    """The answer says where it ends, so that HTTP has found it whole; one that ends with its connection may have broken off."""
    return "content-length" in headers or "transfer-encoding" in headers


def _looks_right(method: str, path: str, value: Mapping[str, Any]) -> bool:
    last = path.rpartition("/")[2]
    if path.count("/") > 1 or last.startswith("_"):
        signs = _SIGNS.get(last) if method != "GET" or last in ("_search", "_count") else None
        return signs is None or any(sign in value for sign in signs)
    if method == "GET":  # an index, or several: each name with all there is to know about it
        return all(isinstance(one, dict) for one in value.values())
    return "acknowledged" in value
