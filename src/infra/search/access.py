"""Access lists, the same in every engine. Pure."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ...core.documents import Document
from ...core.identity import AccessScope

_MAX_TERM_BYTES = 1000


def visible(document: Document, scope: AccessScope) -> bool:
    """The rule of access itself, on one document."""
    return scope.system or (document.tenant == scope.tenant and not scope.principals.isdisjoint(document.acl))


@lru_cache(maxsize=256)  # whoever asks asks again; someone may be in a thousand groups (1.1 ms)
def scope_terms(scope: AccessScope) -> tuple[str, ...]:
    """Whatever is indexed with one of these is visible to the scope, a system scope apart; each names tenant and principal both."""
    return tuple(principal_term(scope.tenant, principal) for principal in sorted(scope.principals))


def principal_term(tenant: str, principal: str) -> str:
    """How one entry of an access list is indexed: two different entries never give the same term."""
    term = f"{len(tenant)}:{tenant}\x1f{principal}"
    data = term.encode("utf-8", "surrogatepass")
    if len(data) <= _MAX_TERM_BYTES and data == term.encode("utf-8", "replace"):
        return term
    return f"#{hashlib.blake2b(data).hexdigest()}"
