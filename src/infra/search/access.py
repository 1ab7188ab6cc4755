"""Access lists, the same in every engine. Pure."""

from __future__ import annotations

import hashlib

from ...core.documents import Document
from ...core.identity import AccessScope

_MAX_TERM_BYTES = 1000


def visible(document: Document, scope: AccessScope) -> bool:
    """The rule of access itself, on one document."""
    return scope.system or (document.tenant == scope.tenant and not scope.principals.isdisjoint(document.acl))


def scope_terms(scope: AccessScope) -> list[str]:
    """Whatever is indexed with one of these is visible to the scope, a system scope apart; each names tenant and principal both."""
    return [principal_term(scope.tenant, principal) for principal in sorted(scope.principals)]


def principal_term(tenant: str, principal: str) -> str:
    """How one entry of an access list is indexed: two different entries never give the same term."""
    term = f"{len(tenant)}:{tenant}\x1f{principal}"
    data = term.encode("utf-8", "surrogatepass")
    if len(data) <= _MAX_TERM_BYTES and data == term.encode("utf-8", "replace"):
        return term
    return f"#{hashlib.blake2b(data).hexdigest()}"
