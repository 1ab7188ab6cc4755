"""The application: `create_app(resources)` puts routers and middlewares together. Nothing is global."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import Scope

from ..assembly import hotspots_recorded
from ..infra.config import ApiCfg, Settings
from ..infra.metrics import start_metrics, stop_metrics
from ..infra.metrics_keeping import keep_figures
from ..infra.persistence.schedule import keep_retained
from ..infra.resource_manager import ResourceManager
from ..integrations.mcp.http import McpEndpoint
from ..telemetry.logger import get_logger
from ..telemetry.serving import NO_TELEMETRY, TraceRequests
from . import admin, approvals, chat, documents, feedback, health, hotspots, log_levels, metrics, page, problems, search, threads
from .auth import LocalOnly, RequireIdentity, caller, make_authenticator
from .deps import Parts
from .idempotency import HEADER, REPLAYED_HEADER, Idempotency
from .limits import BodyLimit, Deadline
from .middleware import REQUEST_ID_HEADER, RequestContext, SecurityHeaders
from .openai import completions, embeddings, models
from .recording import SignInRefusals, record_configuration
from .runs import RUN_HEADER

log = get_logger(__name__)

MCP_HEADERS = ("Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id")
"""What clients of the Model Context Protocol send, in browsers too."""

DESCRIPTION = "Cited answers over a company's own documents. Every error is an RFC 9457 problem document."


def create_app(resources: ResourceManager) -> FastAPI:
    """The HTTP API and the chat page over these resources, which are closed when the server stops.

    Raises:
        ConfigurationError: `[api]` or `[audit]` cannot be served as it is.
    """
    settings = resources.settings
    features = settings.features
    app = FastAPI(
        title="Founders RAG",
        description=DESCRIPTION,
        version=_version(),
        lifespan=_lifespan(resources),
        openapi_url="/openapi.json" if features.openapi else None,
        docs_url=None,  # the framework's own page loads scripts from elsewhere; `page` serves ours
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.parts = Parts(resources)
    if settings.audit.enabled:
        resources.get("audit")  # one that cannot be used is the operator's to hear of, before anybody is served
    problems.install(app)
    openai = (completions.router, models.router, embeddings.router)
    for router in (
        chat.router,
        *openai,
        threads.router,
        approvals.router,
        feedback.router,
        search.router,
        documents.make_router(upload=features.upload),
        health.router,
        metrics.router,
        admin.router,
        hotspots.router,
        log_levels.router,
    ):
        app.include_router(router)
    if features.mcp:
        # POST alone: nothing is kept between requests, so there is no session to listen to or to end.
        app.router.routes.append(Route("/mcp", McpEndpoint(resources, caller, settings.api.max_request_bytes), methods=["POST"]))
    page.install(app, features)
    _add_middlewares(app, settings)
    return app


def _add_middlewares(app: FastAPI, settings: Settings) -> None:
    """Innermost first: each one added wraps those before it."""
    cfg = settings.api
    authenticator = make_authenticator(settings)
    app.add_middleware(Deadline, seconds=cfg.request_timeout_s, stopping=app.state.parts.stopping)
    app.add_middleware(Idempotency, journal=app.state.parts.journal)
    app.add_middleware(BodyLimit, limit_of=_limit_of(cfg))
    refusals = SignInRefusals(lambda: app.state.parts.resources.get("audit"))
    app.add_middleware(RequireIdentity, authenticator=authenticator, on_refused=refusals)
    if cfg.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=cfg.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", HEADER, "Last-Event-ID", REQUEST_ID_HEADER, *MCP_HEADERS],
            expose_headers=[REQUEST_ID_HEADER, RUN_HEADER, REPLAYED_HEADER],
        )
    if cfg.auth == "none":
        app.add_middleware(LocalOnly, allowed_origins=cfg.cors_origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestContext)
    app.add_middleware(TraceRequests)


def _limit_of(cfg: ApiCfg) -> Callable[[Scope], tuple[int, str]]:
    def limit_of(scope: Scope) -> tuple[int, str]:
        if scope["method"] == "POST" and scope["path"] == "/v1/documents":
            # The files of one request together; the other fields and the framing come on top.
            return cfg.max_upload_bytes + cfg.max_request_bytes, "api.max_upload_bytes"
        return cfg.max_request_bytes, "api.max_request_bytes"

    return limit_of


def _lifespan(resources: ResourceManager) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await record_configuration(resources)
        counting = start_metrics(resources.settings)
        works = (warm_up, keep_retained, *((keep_figures,) if counting else ()))
        tasks = [asyncio.create_task(work(resources)) for work in works]
        app.state.warming = tasks[0]
        try:
            async with hotspots_recorded(resources.settings) as app.state.parts.hotspots:
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await app.state.parts.end_answers()
            await resources.aclose()
            if counting:
                stop_metrics()

    return lifespan


async def warm_up(resources: ResourceManager) -> None:
    """Load what the first question needs, while the server already answers. A failure is logged and shows in `/health/ready`."""
    try:
        await asyncio.to_thread(import_module, "..agent.graph", __package__)
        await asyncio.to_thread(resources.get, "agent")
        found = await (await asyncio.to_thread(lambda: resources.health)).check_all()
    except Exception as error:  # noqa: BLE001 - the server runs on, and the request that needs the part reports why it cannot
        log.error("warming up failed", error=type(error).__name__, detail=error)
        return
    for component in found.components:
        if component.status != "healthy":
            log.error("not ready", component=component.name, detail=component.message)


def _version() -> str:
    try:
        return version("founders-rag")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
