"""What the resources' files share: reaching the parts, and the caller's scope."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from ..core.identity import AccessScope, Identity, access_scope
from ..infra.config import Settings
from ..infra.resource_manager import ResourceManager
from .auth import caller
from .files import FileStore
from .limits import Stopping
from .runs import Runs

if TYPE_CHECKING:
    from ..agent.runtime import Agent
    from ..infra.hotspots.recorder import HotspotRecorder
    from ..infra.persistence.feedback import FeedbackService
    from ..infra.persistence.journal import Journal
    from ..infra.persistence.threads import ThreadService
    from ..infra.search.protocol import SearchClient
    from ..ingestion.pipeline import Ingestor
    from ..retrieval.retriever import Retriever
    from ..telemetry.audit import AuditTrail


class Parts:
    """The parts behind the API. Each is built by the first request that needs it, in a thread: imports take a while."""

    def __init__(self, resources: ResourceManager) -> None:
        self.resources = resources
        self._known: dict[str, Any] = {}
        self.files = FileStore(resources.settings.storage.path / "files")
        self.hotspots: HotspotRecorder | None = None
        self.runs = Runs(self.journal, resources.settings.api.resume_s)
        self.stopping = Stopping()

    async def end_answers(self) -> None:
        """The server stops: end what is not answered yet, each in the way of its request."""
        self.stopping.tell()
        await self.runs.aclose()

    @property
    def settings(self) -> Settings:
        return self.resources.settings

    async def search(self) -> SearchClient:
        return cast("SearchClient", await self._get("search"))

    async def retriever(self) -> Retriever:
        return cast("Retriever", await self._get("retriever"))

    async def ingestor(self) -> Ingestor:
        return cast("Ingestor", await self._get("ingestor"))

    async def agent(self) -> Agent:
        return cast("Agent", await self._get("agent"))

    async def threads(self) -> ThreadService:
        return cast("ThreadService", await self._get("threads"))

    async def feedback(self) -> FeedbackService:
        return cast("FeedbackService", await self._get("feedback"))

    async def audit(self) -> AuditTrail:
        return cast("AuditTrail", await self._get("audit"))

    async def journal(self) -> Journal:
        return (await self.threads()).journal

    async def _get(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = await asyncio.to_thread(self.resources.get, name)
        return self._known[name]


def parts_of(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


def scope_of(identity: Annotated[Identity, Depends(caller)]) -> AccessScope:
    return access_scope(identity)


PartsDep = Annotated[Parts, Depends(parts_of)]
CallerDep = Annotated[Identity, Depends(caller)]
ScopeDep = Annotated[AccessScope, Depends(scope_of)]
