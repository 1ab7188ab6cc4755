"""The configuration as the audit trail knows it: keyed hashes of its sections, which tell that something changed and never what it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from ...telemetry.audit import AuditEvent
from ..secrets.live import LiveSecret
from .chain import Keyring, authentic, opened

if TYPE_CHECKING:
    from ..config import Settings

ACTION = "config.loaded"
_LOOK_BACK = 8 * 1024 * 1024
"""Bytes of the end of the audit file in which the configuration before is looked for."""


def configuration_event(settings: Settings, keys: Keyring, path: Path) -> AuditEvent:
    """The event of a start: a fingerprint of the whole and of each section, and which sections differ from the start before.

    Reads the end of the audit file.
    """
    sections = fingerprints(settings, keys)
    whole = keys.fingerprint(json.dumps(sections, sort_keys=True))
    before = _before(path, keys)
    if before is None:
        changed = "unknown"
    else:
        changed = ", ".join(sorted(name for name, value in sections.items() if before.get(f"section.{name}") != value)) or "nothing"
    facts: dict[str, str | int | bool] = {"hash": whole, "changed": changed, **{f"section.{name}": value for name, value in sections.items()}}
    return AuditEvent(ACTION, facts=facts)


def fingerprints(settings: Settings, keys: Keyring) -> dict[str, str]:
    """A fingerprint of each section. A secret counts with its value, one of a vault with its place."""
    found = {}
    for name, section in settings:
        found[name] = keys.fingerprint(json.dumps(_plain(section), sort_keys=True, default=str))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, LiveSecret):
        return list(value.places)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in value}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def _before(path: Path, keys: Keyring) -> dict[str, Any] | None:
    """The facts of the start before under the same key; None where there is none, or it lies too far back."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOOK_BACK))
            lines = file.read().splitlines()
    except OSError:
        return None
    marker = f'"action":"{ACTION}"'.encode()
    for line in reversed(lines):
        record = opened(line) if marker in line else None
        if record is not None and record["key"] == keys.current and authentic(record, keys):
            facts: dict[str, Any] = record.get("facts", {})
            return facts
    return None
