"""`diagnose`: every hop of a configuration, side by side, each within its time."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, RagError
from ..resource_manager import ResourceManager
from . import identity, local, models, opensearch, otlp, policy, postgres, vaults, wire
from .channel import in_thread
from .handshake import Inspector
from .report import Finding, HopReport, Report, StepReport
from .sources import source_text
from .targets import Kind, Target, targets_of
from .walk import Site, Step, walk

if TYPE_CHECKING:
    from ..config import Settings

TIMEOUT_S = 20.0
_SHARE, _LEAST_S = 0.75, 0.5


async def diagnose(settings: Settings, *, timeout_s: float = TIMEOUT_S, hops: Sequence[str] = ()) -> Report:
    """Check each configured hop, from the name to the service. Creates and writes nothing; a model is asked for one token, or one vector.

    Args:
        timeout_s: seconds that each hop may take; they run side by side, so all of it takes no longer.
        hops: names of those to check; empty means all.

    Raises:
        ConfigurationError: no such hop is configured.
    """
    targets = targets_of(settings)
    unknown = [name for name in hops if name not in {target.hop for target in targets}]
    if unknown:
        raise ConfigurationError(f"No hop {unknown[0]!r} is configured.", hint=f"There are: {', '.join(target.hop for target in targets)}.")
    chosen = [target for target in targets if not hops or target.hop in hops]
    await in_thread(lambda: _load({target.kind for target in chosen}))
    began = time.perf_counter()
    resources = ResourceManager(_hastened(settings, timeout_s))
    site = Site(settings, resources, timeout_s, Inspector(settings.network))
    try:
        reports = await asyncio.gather(*(_one(site, target) for target in chosen))
    finally:
        await resources.aclose()
    return Report(tuple(reports), (time.perf_counter() - began) * 1000)


def _load(kinds: set[Kind]) -> None:
    """Import what the hops need before their time begins: with cold disks that takes seconds, and is nobody's fault on the way."""
    if kinds & {"chat", "embed", "rerank", "otlp"}:
        from ..providers import openai_errors  # noqa: F401 - importing is the point
    if "search" in kinds:
        from ..search.opensearch.wire import sessions  # noqa: F401 - likewise
    if "identity" in kinds and importlib.util.find_spec("azure") is not None:
        from ..azure_auth import transport  # noqa: F401 - likewise


def _hastened(settings: Settings, timeout_s: float) -> Settings:
    """The identity repeats what fails as long as it may: within our time it then still says what failed."""
    share = max(_LEAST_S, _SHARE * timeout_s)
    return settings.model_copy(update={"azure": settings.azure.model_copy(update={"timeout_s": min(settings.azure.timeout_s, share)})})


async def _one(site: Site, target: Target) -> HopReport:
    try:
        steps = steps_of(site, target)
    except RagError as error:  # the policy itself cannot be read: no hop has a way
        if target.kind == "network":
            return await walk(site, target, policy.steps())
        finding = Finding(error.message, error.setting, source_text(site.settings, error.setting), error.hint, error.code, error.hop)
        return HopReport(target.hop, target.address, (StepReport("settings", "failed", finding),), target.cost)
    return await walk(site, target, steps)


def steps_of(site: Site, target: Target) -> tuple[Step, ...]:
    """The steps of a hop, in order.

    Raises:
        ConfigurationError: the network policy cannot be read.
    """
    if target.kind in _HERE:
        return _HERE[target.kind]()
    if target.kind == "postgres":
        return postgres.steps(site.settings, target.remote)
    before, after = _STEPS[target.kind]()
    if not target.remote:
        return (*before, *after)
    if target.kind == "proxy":
        return (Step("name", wire.name), Step("tcp", wire.tcp), Step("proxy", wire.itself))
    proxied = site.policy.proxy_for(target.host, target.port, target.scheme) is not None
    return (*before, *wire.steps_of(proxied, target.scheme), *after)


_HERE: dict[str, Callable[[], tuple[Step, ...]]] = {
    "data": local.data_steps,
    "model": local.model_steps,
    "index": local.index_steps,
    "aws": local.aws_steps,
    "network": policy.steps,
    "vault": vaults.steps,
}
_STEPS: dict[str, Callable[[], tuple[tuple[Step, ...], tuple[Step, ...]]]] = {
    "proxy": lambda: ((Step("settings", policy.policy),), ()),
    "identity": identity.steps,
    "chat": models.chat_steps,
    "embed": models.embed_steps,
    "rerank": models.rerank_steps,
    "search": lambda: ((), opensearch.steps()),
    "otlp": lambda: ((), otlp.steps()),
}
