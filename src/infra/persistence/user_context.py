"""Who a graph runs for, and under which thread."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.identity import Identity, current_identity
from .rows import storable

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import Durability

    from ..resource_manager import ResourceManager

CONFIG_KEY_DURABILITY = "__pregel_durability"
"""Where LangGraph looks for the durability of a run whose caller names none (`langgraph._internal._constants`, pinned by a test)."""
LOCAL_USER = "local"
"""The user where no request and no configuration names one."""


def extract_user_context(resources: ResourceManager) -> dict[str, Any]:
    """``user_id``, ``tenant`` and ``groups`` of the caller.

    The identity of the running request comes first, then ``[environment] jpmc_user_sid``, then the local user.
    """
    identity = current_identity.get() or Identity(user=resources.settings.environment.jpmc_user_sid or LOCAL_USER)
    return {"user_id": identity.user, "tenant": identity.tenant, "groups": list(identity.groups)}


ALL_USERS = ("users",)
"""Where the store keeps what belongs to users."""


def user_namespace(tenant: str, user: str) -> tuple[str, str, str]:
    """Where the store keeps what belongs to one user, and is erased with them; further parts may follow."""
    return (*ALL_USERS, labelled(tenant), labelled(user))


def labelled(name: str) -> str:
    """A name as part of a namespace, in which LangGraph allows no full stop and nothing empty: ``anne.smith`` is ``anne%2Esmith``."""
    return name.replace("%", "%25").replace(".", "%2E") or "%"


def generate_thread_id(user_id: str) -> str:
    """A new thread's id: a version 7 UUID (RFC 9562), which sorts by time and carries 74 random bits.

    The user stays out of it: ids stand in URLs and logs. Whose a thread is, `ThreadService` knows.
    """
    if not user_id:
        raise ValueError("a thread needs a user")
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def with_namespace(config: RunnableConfig) -> RunnableConfig:
    """A config that names its namespace: who goes back to a checkpoint may leave out that of the graph itself, as LangGraph's guides do."""
    where = config["configurable"]
    return config if "checkpoint_ns" in where else {**config, "configurable": {**where, "checkpoint_ns": ""}}


def create_langgraph_config(ctx: Mapping[str, Any], thread_id: str, *, durability: Durability | None = "sync") -> RunnableConfig:
    """What LangGraph's ``config`` argument takes, for one user's thread.

    Runs are durable after each step, unless ``durability=`` says otherwise where the graph is called: of LangGraph's three ways
    only ``sync`` resumed exactly where a killed process had been.

    Args:
        durability: None for a graph that is compiled without a checkpointer, or with ``checkpointer=False``: asked to be durable, such a
            graph fails in LangGraph (1.2.22: ``AttributeError: … '_put_checkpoint_fut'``), for it waits for a checkpoint that
            nobody writes; and this config cannot know which graph it will be given to.

    Raises:
        ValueError: thread or user is empty, or no database can hold it: LangGraph would take it, and all who send it would share a thread.
        TypeError: thread, user or tenant is no text.
    """
    user, tenant = ctx["user_id"], ctx.get("tenant", "")
    for name, value in (("thread_id", thread_id), ("user_id", user), ("tenant", tenant)):
        if not isinstance(value, str):
            raise TypeError(f"{name} is a str, not {type(value).__name__}; generate_thread_id(user_id) makes the id of a new thread")
        if not storable(value) or (not value.strip() and name != "tenant"):
            raise ValueError(f"{name} must not be empty, nor hold NUL or lone surrogates; generate_thread_id(user_id) makes the id of a new thread")
    config: RunnableConfig = {"configurable": {"thread_id": thread_id, "user_id": user, "tenant": tenant}}
    if durability is not None:
        config["configurable"][CONFIG_KEY_DURABILITY] = durability
    return config
