"""The port of the audit trail: what is recorded, and how whoever does a thing says so. What keeps it is `infra/audit`.

Parts get the trail of their resources (`resources.get("audit")`) and call it in one of three ways: `record` for what has happened,
`reading` around what is looked at, `changing` around what is changed. An event holds ids, words of this program and numbers:
never a question, an answer, or a document's text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ..core.identity import AccessScope, Identity
from ..errors import AuthenticationError, NotFoundError, PermissionDeniedError, RagError

Outcome = Literal["begun", "allowed", "refused", "failed"]
"""``begun`` stands before a change; a record with how it ended follows, unless the process was killed in between."""

_REFUSALS = (AuthenticationError, PermissionDeniedError, NotFoundError)
"""What is not there and what is another's are answered alike, so both are refusals."""

turn_id: ContextVar[str] = ContextVar("rag_audit_turn", default="")
"""The answer that is being made, its ``message_id``: what is searched and read for it is recorded under it."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that somebody did, or wanted to.

    Attributes:
        action: what, as ``document.delete``; a word of this program.
        user, tenant: who; without a user it was the account that the process runs under, or somebody who is not signed in.
        documents: ids of the documents that were shown or changed.
        object: id of what else it is about: a thread, an approval, a version of the index.
        reason: code of the error that ended it.
        facts: words and numbers of this program that tell more.
    """

    action: str
    outcome: Outcome = "allowed"
    user: str = ""
    tenant: str = ""
    documents: tuple[str, ...] = ()
    object: str = ""
    reason: str = ""
    facts: Mapping[str, str | int | bool] = field(default_factory=dict)

    @classmethod
    def by(cls, identity: Identity, action: str, *, object: str = "", documents: tuple[str, ...] = (), **facts: str | int | bool) -> AuditEvent:  # noqa: A002 - the field's name
        """What an identity does."""
        return cls(action, user=identity.user, tenant=identity.tenant, object=object, documents=documents, facts=facts)

    @classmethod
    def under(cls, scope: AccessScope, action: str, *, object: str = "", documents: tuple[str, ...] = (), **facts: str | int | bool) -> AuditEvent:  # noqa: A002 - as above
        """What is done under a scope: by the one user among its principals, or by the system."""
        users = sorted(name.removeprefix("user:") for name in scope.principals if name.startswith("user:"))
        return cls(action, user=users[0] if users else "", tenant=scope.tenant, object=object, documents=documents, facts=_system(facts, scope))


def _system(facts: Mapping[str, str | int | bool], scope: AccessScope) -> Mapping[str, str | int | bool]:
    return {**facts, "system": True} if scope.system else facts


class AuditTrail(Protocol):
    """Where events are recorded."""

    async def record(self, event: AuditEvent) -> None:
        """Keep an event: it is on the disk when this returns.

        Raises:
            AuditError: it could not be kept, and the configuration refuses what is not recorded.
        """
        ...


class NoAudit:
    """Where no audit trail is configured."""

    async def record(self, event: AuditEvent) -> None:
        """Nothing."""


NO_AUDIT = NoAudit()


@dataclass(slots=True)
class Noted:
    """What the block of `reading` or `changing` adds to its event before it ends."""

    documents: tuple[str, ...] = ()
    object: str = ""
    facts: dict[str, str | int | bool] = field(default_factory=dict)

    def into(self, event: AuditEvent) -> AuditEvent:
        documents = self.documents or event.documents
        return replace(event, documents=documents, object=self.object or event.object, facts={**event.facts, **self.facts})


@asynccontextmanager
async def reading(trail: AuditTrail, event: AuditEvent) -> AsyncIterator[Noted]:
    """Around what looks something up: recorded once, when it is known what was found and before anybody is shown it.

    Raises:
        AuditError: it could not be recorded; nothing is to be shown then.
    """
    noted = Noted()
    try:
        yield noted
    except BaseException as error:
        await ended(trail, noted.into(event), error)
        raise
    await trail.record(noted.into(event))


@asynccontextmanager
async def changing(trail: AuditTrail, event: AuditEvent) -> AsyncIterator[Noted]:
    """Around a change: recorded before it begins, so that what cannot be recorded is not done, and again with its outcome.

    Raises:
        AuditError: before the block, nothing was done; after it, it was done and its outcome could not be recorded.
    """
    await trail.record(replace(event, outcome="begun"))
    noted = Noted()
    try:
        yield noted
    except BaseException as error:
        await ended(trail, noted.into(event), error)
        raise
    await trail.record(noted.into(event))


async def ended(trail: AuditTrail, event: AuditEvent, error: BaseException) -> None:
    """Record that something was refused, or failed. The caller is told of the error itself, whether or not this can be recorded."""
    code = error.code if isinstance(error, RagError) else "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
    with suppress(RagError):
        await trail.record(replace(event, outcome="refused" if isinstance(error, _REFUSALS) else "failed", reason=code))
