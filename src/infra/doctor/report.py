"""What a diagnosis says: hops, their steps, and what would mend them. Pure; holds no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warning", "failed", "not reached"]


@dataclass(frozen=True, slots=True)
class Fix:
    """One line of configuration that would mend a step.

    Args:
        key: ``section.key``.
        value: what to write; an example where only a person knows.
        ready: the value can be used as it stands.
        note: why, in one sentence.
    """

    key: str
    value: str
    ready: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step found out, or what is wrong.

    Args:
        setting: the key responsible; empty where none is.
        source: where that key's value came from.
        code: the error's stable word, see `errors.py`; empty where nothing failed.
        address: ``scheme://host:port`` that it is about, as the error names it.
    """

    message: str
    setting: str = ""
    source: str = ""
    hint: str = ""
    code: str = ""
    address: str = ""
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step of a hop."""

    step: str
    status: Status
    finding: Finding = field(default_factory=lambda: Finding(""))
    warnings: tuple[Finding, ...] = ()
    took_ms: float = 0.0

    @property
    def told(self) -> Finding:
        """What matters most of it: the failure, else its first warning, else what was found."""
        return self.warnings[0] if self.status == "warning" and self.warnings else self.finding


_NOTHING = StepReport("", "ok")


@dataclass(frozen=True, slots=True)
class HopReport:
    """One hop. `step`, `setting`, `source`, `message`, `hint` are those of its first failed step, else of its first warning."""

    hop: str
    """Stable name: ``chat``, ``embed``, ``search``, ``identity``…"""
    address: str
    """``scheme://host:port``, or a folder; without credentials."""
    steps: tuple[StepReport, ...]
    cost: str = ""
    """What asking costs; empty where it costs nothing."""

    @property
    def status(self) -> Status:
        found = {step.status for step in self.steps}
        return "failed" if "failed" in found else "warning" if "warning" in found else "ok"

    @property
    def worst(self) -> StepReport:
        """The first failed step, else the first with a warning, else the last."""
        for status in ("failed", "warning"):
            for step in self.steps:
                if step.status == status:
                    return step
        return self.steps[-1] if self.steps else _NOTHING

    @property
    def charged(self) -> bool:
        """Whether its last step asked for what costs: it was answered, or waited for in vain."""
        last = self.steps[-1] if self.steps else _NOTHING
        return last.status in ("ok", "warning") or (last.step != "settings" and last.finding.code == "deadline")

    @property
    def step(self) -> str:
        return self.worst.step

    @property
    def setting(self) -> str:
        return self.worst.told.setting

    @property
    def source(self) -> str:
        return self.worst.told.source

    @property
    def message(self) -> str:
        return self.worst.told.message

    @property
    def hint(self) -> str:
        return self.worst.told.hint

    @property
    def code(self) -> str:
        return self.worst.told.code


@dataclass(frozen=True, slots=True)
class Report:
    """All hops, in the order in which they are listed."""

    hops: tuple[HopReport, ...]
    took_ms: float = 0.0

    @property
    def ok(self) -> bool:
        """No hop failed; warnings do not count."""
        return all(hop.status != "failed" for hop in self.hops)

    def hop(self, name: str) -> HopReport:
        """The hop of a name.

        Raises:
            KeyError: it is not configured.
        """
        return {found.hop: found for found in self.hops}[name]

    @property
    def fixes(self) -> tuple[tuple[HopReport, StepReport, Finding], ...]:
        """Whatever would mend something, each once, failures first."""
        found = [(hop, step, finding) for hop in self.hops for step in hop.steps for finding in (step.finding, *step.warnings) if finding.fixes]
        found.sort(key=lambda one: one[1].status != "failed")
        kept: dict[tuple[Fix, ...], tuple[HopReport, StepReport, Finding]] = {}
        for one in found:
            kept.setdefault(one[2].fixes, one)
        return tuple(kept.values())


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data; keys may be added, never renamed."""
    return {"ok": report.ok, "hops": [_hop_json(hop) for hop in report.hops], "took_ms": round(report.took_ms)}


def _hop_json(hop: HopReport) -> dict[str, Any]:
    told = hop.worst.told
    head = {"hop": hop.hop, "address": hop.address, "status": hop.status, "step": hop.step}
    steps = [_step_json(step) for step in hop.steps]
    return {**head, **_finding_json(told), **({"cost": hop.cost} if hop.cost else {}), "steps": steps}


def _step_json(step: StepReport) -> dict[str, Any]:
    warnings = {"warnings": [_finding_json(one) for one in step.warnings]} if step.warnings else {}
    return {"step": step.step, "status": step.status, **_finding_json(step.finding), **warnings, "took_ms": round(step.took_ms)}


def _finding_json(finding: Finding) -> Mapping[str, Any]:
    values = {key: value for key, value in asdict(finding).items() if value and key != "fixes"}
    values.setdefault("message", "")
    return {**values, **({"fixes": [asdict(fix) for fix in finding.fixes]} if finding.fixes else {})}
