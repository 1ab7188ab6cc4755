"""For whom a library's call runs, where the library's own signatures have no place for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.identity import Identity, current_identity
from ..infra.persistence.user_context import extract_user_context
from ..infra.resource_manager import ResourceManager


def identity_of(resources: ResourceManager, given: Identity | None, configurable: Mapping[str, Any] | None = None) -> Identity:
    """The identity whose access scope a call has; there is always one, and never one that sees everything.

    In this order: the one given when the part was made; that of the running request; the user of a LangGraph config made by
    `create_langgraph_config`, without groups, which it does not carry; the configuration's, or the local user.
    """
    found = given or current_identity.get()
    if found is not None:
        return found
    named = configurable or {}
    if named.get("user_id") and named.get("tenant"):
        return Identity(str(named["user_id"]), str(named["tenant"]))
    context = extract_user_context(resources)
    return Identity(context["user_id"], context["tenant"], tuple(context["groups"]))
