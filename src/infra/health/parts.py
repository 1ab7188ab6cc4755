"""What is checked of a deployment: what answers need, and what will soon be in their way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ..config import HealthCfg
from . import certificates, machine
from .checker import Finding, HealthChecker
from .hysteresis import Rules

if TYPE_CHECKING:
    from ..resource_manager import ResourceManager


def make_checker(resources: ResourceManager) -> HealthChecker:
    """The checks of what an answer needs come first: the index, the model that embeds questions, threads, sign-in, the audit trail."""
    from ..azure_models import register_identity
    from ..secrets.health import register_secrets

    settings = resources.settings
    cfg = settings.health
    checker = HealthChecker(cfg.timeout_s, cfg.cache_s, Rules(cfg.failures, cfg.recoveries))

    async def embedder() -> None:
        await (await _built(resources, "embedder")).embed(["ready?"])

    async def search() -> None:
        await (await _built(resources, "search")).ping()

    checker.register_component("search", search)
    checker.register_component("embedder", embedder)
    register_identity(checker, resources)
    register_secrets(checker, settings)
    if settings.persistence.backend == "postgres":

        async def threads() -> None:
            await (await _built(resources, "database")).ping()

        checker.register_component("threads", threads)
    _register_audit(checker, resources)
    _register_surroundings(checker, resources, cfg)
    return checker


async def _built(resources: ResourceManager, name: str) -> Any:
    """A resource, built in a thread: its imports may take a second, and other checks should not wait for them."""
    return await asyncio.to_thread(resources.get, name)


def _register_audit(checker: HealthChecker, resources: ResourceManager) -> None:
    """Answers need the audit trail where the configuration refuses what cannot be recorded."""
    cfg = resources.settings.audit
    if not cfg.enabled:
        return

    async def audit() -> None:
        await (await _built(resources, "audit")).ping()

    checker.register_component("audit", audit, required=cfg.on_failure == "refuse")


def _register_surroundings(checker: HealthChecker, resources: ResourceManager, cfg: HealthCfg) -> None:
    from ..factories import INDEX_FOLDER
    from .pools import pools

    settings = resources.settings
    network, now = settings.network, partial(datetime.now, UTC)
    checker.register_component("disk", lambda: machine.disk(settings.storage.path, cfg), required=False)
    checker.register_component("memory", lambda: machine.memory(cfg), required=False)
    checker.register_component("processor", lambda: machine.processor(cfg), required=False)
    checker.register_component("pools", lambda: pools(cfg.pool_percent), required=False)
    if settings.search.chosen_engine == "embedded":

        def index_state() -> Finding:
            from .index import index  # numpy comes with it

            return index(settings.storage.path / INDEX_FOLDER, cfg)

        checker.register_component("index", index_state, required=False)
    if network.client_certificate is not None:
        checker.register_component("client_certificate", lambda: certificates.client_certificate(network, cfg.certificate_days, now()), required=False)
    if (bundle := network.ca_bundle) is not None and not bundle.is_dir():
        checker.register_component("ca_bundle", lambda: certificates.authorities(bundle, cfg.certificate_days, now()), required=False)
