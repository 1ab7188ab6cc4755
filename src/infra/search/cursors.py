"""Opaque cursors: where the next page begins, and of which request. Pure."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
from operator import attrgetter

from ...core.identity import AccessScope
from ...core.search import HybridTuning, SearchRequest
from ...errors import QueryError

_MAX_CHARS = 20_000
_all_of = attrgetter(*(part.name for part in dataclasses.fields(HybridTuning)))  # a dataclass's own repr takes 4 us


def request_fingerprint(request: SearchRequest, scope: AccessScope) -> str:
    """Of all that decides the ranking; the vector follows from the query."""
    parts = (request.query, request.mode, request.top_k, request.filters, _all_of(request.tuning))
    return fingerprint(parts, scope)


def fingerprint(parts: object, scope: AccessScope) -> str:
    text = repr((parts, scope.tenant, sorted(scope.principals), scope.system))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def encode(position: object, mark: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, mark]).encode()).decode().rstrip("=")


def decode(cursor: str, mark: str) -> object:
    """The position that `encode` was given.

    Raises:
        QueryError: not a cursor, or one of another request.
    """
    try:
        if len(cursor) > _MAX_CHARS:
            raise ValueError("too long")
        position, found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, TypeError, RecursionError):
        raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.") from None
    if found != mark:
        raise QueryError("The cursor belongs to another request.", hint="Send the same query, filters and page size as for the page before.")
    return position


def decode_offset(cursor: str | None, mark: str) -> int:
    """The offset in a search's cursor; 0 for none."""
    if cursor is None:
        return 0
    position = decode(cursor, mark)
    if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < 2**31:
        raise QueryError("The cursor cannot be read.", hint="Send next_cursor of the page before, unchanged.")
    return position
