"""One hop's way through its steps: each within what is left of the hop's time, none after one that failed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...errors import DeadlineExceededError, RagError
from ...telemetry.logger import get_logger
from .fixes import example
from .report import Finding, Fix, HopReport, StepReport
from .sources import outranking, source_text
from .targets import Target

if TYPE_CHECKING:
    from ..config import Settings
    from ..network import NetworkPolicy
    from ..resource_manager import ResourceManager
    from .channel import Channel
    from .handshake import Inspector

log = get_logger(__name__)

SPARE_S = 0.3
"""What a step leaves of the hop's time, so that it ends in its own error and not in the hop's."""


@dataclass(slots=True)
class Site:
    """What all hops of one diagnosis share."""

    settings: Settings
    resources: ResourceManager
    timeout_s: float
    inspector: Inspector

    @property
    def policy(self) -> NetworkPolicy:
        return self.resources.network


@dataclass(slots=True)
class Walk:
    """The state of one hop while its steps run."""

    site: Site
    target: Target
    ends: float
    """On the event loop's clock."""
    warnings: list[Finding] = field(default_factory=list)
    """Of the step that runs."""
    fixes: list[Fix] = field(default_factory=list)
    """What the step that runs knows to mend its failure with."""
    channel: Channel | None = None

    @property
    def settings(self) -> Settings:
        return self.site.settings

    @property
    def policy(self) -> NetworkPolicy:
        return self.site.policy

    def left(self, limit_s: float | None = None) -> float:
        """Seconds that a step may take: what is left of the hop's time, or a limit of the configuration's where that is less."""
        rest = max(0.05, self.ends - asyncio.get_running_loop().time() - SPARE_S)
        rest = math.floor(rest * 10) / 10 if rest > 1 else round(rest, 2)  # it stands in messages
        return rest if limit_s is None else min(rest, limit_s)

    def impatient(self, error: RagError, configured_s: float, asked_s: float) -> RagError:
        """An error of time, where it was our time and not the configuration's, says so."""
        if isinstance(error, DeadlineExceededError) and asked_s < configured_s:
            error.hint = f"{error.setting} allows {configured_s:g} s; `rag doctor --timeout` waits longer than {self.site.timeout_s:g} s."
        return error

    def warn(self, message: str, setting: str = "", hint: str = "", *fixes: Fix) -> None:
        self.warnings.append(Finding(message, setting, source_text(self.settings, setting), hint, fixes=fixes))

    def failed(self, error: RagError) -> Finding:
        """The finding of a step that ended in an error."""
        source = source_text(self.settings, error.setting)
        hint = error.hint or (f"Check {error.setting}." if error.setting else "Look at the log, with [logging] level = DEBUG.")
        fixes = tuple(self._effective(fix) for fix in self.fixes or example(error, hint))
        return Finding(error.message, error.setting, source, hint, error.code, error.hop, fixes)

    def _effective(self, fix: Fix) -> Fix:
        """A line that would stay without effect says where the value has to be changed instead."""
        place = outranking(self.settings, fix.key)
        if not place:
            return fix
        return replace(fix, ready=False, note=f"{fix.note} It is set by {place}, which outranks files: change it there.".strip())


@dataclass(frozen=True, slots=True)
class Step:
    """One step: an action that says what it found, or raises `RagError`."""

    name: str
    act: Callable[[Walk], Awaitable[str]]


async def walk(site: Site, target: Target, steps: Sequence[Step]) -> HopReport:
    """Take a hop's steps in order until one fails."""
    loop = asyncio.get_running_loop()
    state = Walk(site, target, loop.time() + site.timeout_s)
    reports: list[StepReport] = []
    try:
        async with asyncio.timeout_at(state.ends) as limit:
            for step in steps:
                reports.append(await _take(state, step, limit))
                if reports[-1].status == "failed":
                    break
    except TimeoutError:
        reports.append(_overrun(state, steps[len(reports)]))
    finally:
        if state.channel is not None:
            state.channel.close()
    reports = _placed(reports, steps, target.address)
    taken = {report.step for report in reports}
    rest = [StepReport(step.name, "not reached") for step in steps if step.name not in taken]
    return HopReport(target.hop, target.address, (*reports, *rest), target.cost)


async def _take(state: Walk, step: Step, limit: asyncio.Timeout) -> StepReport:
    state.warnings, state.fixes = [], []
    began = time.perf_counter()
    failure: Finding | None = None
    found = ""
    try:
        found = await step.act(state)
    except RagError as error:
        failure = state.failed(error)
    except TimeoutError:
        if limit.expired():
            raise
        failure = state.failed(_late(state, step))
    except Exception as error:  # noqa: BLE001 - a diagnosis names what it did not foresee, and goes on with the other hops
        log.warning("a check failed in a way that is not foreseen", hop=state.target.hop, step=step.name, error=type(error).__name__)
        failure = Finding(f"The check itself failed ({type(error).__name__}).", code="unforeseen", hint="Please report this.")
    took = (time.perf_counter() - began) * 1000
    if failure is not None:
        return StepReport(step.name, "failed", failure, tuple(state.warnings), took)
    return StepReport(step.name, "warning" if state.warnings else "ok", Finding(found), tuple(state.warnings), took)


def _late(state: Walk, step: Step) -> DeadlineExceededError:
    target = state.target
    files = _files(state, step)
    if files:
        hint = "It may be a pipe, or lie on a drive that does not answer: name a file on this machine's disk."
        return DeadlineExceededError("Files that the configuration names could not be read in time.", hop=target.address, setting=files, hint=hint)
    setting = target.setting if step.name in ("name", "tcp") else target.timeout_setting
    hint = f"Look at the service and the way there; `rag doctor --timeout` waits longer than {state.site.timeout_s:g} s."
    return DeadlineExceededError(f"{target.noun} did not answer in time.", hop=target.address, setting=setting, hint=hint)


def _files(state: Walk, step: Step) -> str:
    """The setting of the files that a step reads; empty where it waits for others."""
    target, cfg = state.target, state.settings.network
    if target.kind in ("data", "model", "index"):
        return target.setting
    if step.name == "certificate" and target.kind != "network":
        return "azure.certificate_path"
    if target.kind == "vault" or step.name not in ("authorities", "certificate", "settings", "tls"):
        return ""
    if step.name == "tls" and state.site.inspector.ready:
        return ""
    own = "network.client_certificate" if cfg.client_certificate else "network.client_key"
    return own if step.name == "certificate" or cfg.ca_bundle is None else "network.ca_bundle"


def _overrun(state: Walk, step: Step) -> StepReport:
    return StepReport(step.name, "failed", state.failed(_late(state, step)), tuple(state.warnings), state.site.timeout_s * 1000)


def _placed(reports: list[StepReport], steps: Sequence[Step], address: str) -> list[StepReport]:
    """A later request may meet what an earlier step could not: in TLS 1.3 a server looks at the client's certificate last of all.

    Such a failure belongs to the step that is about it.
    """
    last = reports[-1] if reports else None
    names = [step.name for step in steps]
    about = last.finding.address if last is not None and last.finding.code in ("tls", "unreachable") else ""
    if last is None or last.status != "failed" or about not in (address, f"proxy to {address}"):
        return reports
    place = "tls" if last.finding.code == "tls" else "proxy" if about != address else last.step
    if place not in names or names.index(place) >= names.index(last.step):
        return reports
    return [*reports[: names.index(place)], replace(last, step=place)]
