"""Who asks, and what they may see.

Principals are strings: ``user:ID``, ``group:ID`` and ``tenant:*`` (everyone of the tenant). A chunk is visible where
the tenants match and its access list meets the scope's principals; an empty access list is visible to nobody.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

EVERYONE = "tenant:*"
"""The principal that every member of a tenant holds."""

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Identity:
    """The one caller of a request. Made by ``api/auth.py``, or by the command line for the local user."""

    user: str
    tenant: str = DEFAULT_TENANT
    groups: tuple[str, ...] = ()


current_identity: ContextVar[Identity | None] = ContextVar("rag_identity", default=None)
"""The caller of the request that is running; set by `api/auth.py` or the command line, read by `extract_user_context`."""


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What a search may see; applied inside every leg, before top-k.

    ``system`` sees every tenant and every chunk. It is for maintenance, is always spelled out, and each use is logged.
    """

    tenant: str
    principals: frozenset[str] = field(default_factory=frozenset)
    system: bool = False


def access_scope(identity: Identity) -> AccessScope:
    """The scope of one identity: itself, its groups, and everyone of its tenant."""
    return AccessScope(
        tenant=identity.tenant,
        principals=frozenset({f"user:{identity.user}", *(f"group:{name}" for name in identity.groups), EVERYONE}),
    )


def system_scope(tenant: str = DEFAULT_TENANT) -> AccessScope:
    """The explicit scope of maintenance work; ``tenant`` names whose work it is, it limits nothing."""
    return AccessScope(tenant=tenant, system=True)
