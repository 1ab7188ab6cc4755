"""The versions of an index behind one alias, as the cluster's state says it. Pure.

Alias `X` points to one of `X-000001`, `X-000002`, ... A version that is being built has no such alias; its builder's own
alias (`building_alias`) points to it, and everything the builder writes goes through that: who takes the building over
moves that alias, and whoever had it before is shut out (a fencing token kept by the cluster).
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from .. import fields

LEASE_S = 60.0
"""Seconds after which a sign of life counts as given up; live commands renew it four times as often. Less than writers wait at a
write block (`[search] bulk_timeout_s`), so that they outlast a reindex that was killed on another machine."""

STATE = "founders_rag_state"
"""Key in the mapping's `_meta` of what changes during an index's life: `epoch`, `previous`, `building`, `blocked`."""

Work = Literal["reindex", "rebuild", "copy", "create"]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on an index, and when they last said so."""

    host: str
    pid: int
    at: float
    """Seconds since 1970."""

    @classmethod
    def mine(cls) -> Lease:
        return cls(socket.gethostname(), os.getpid(), time.time())

    def as_json(self) -> dict[str, Any]:
        return {"host": self.host, "pid": self.pid, "at": round(self.at, 1)}

    def given_up(self) -> bool:
        """Nobody holds it any more: its process on this machine is gone, or it was not renewed for `LEASE_S`."""
        if self.host == socket.gethostname() and self.pid != os.getpid() and not _alive(self.pid):
            return True
        return abs(time.time() - self.at) > LEASE_S

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def read_lease(stored: object) -> Lease | None:
    """A lease from `_meta`; None where there is none."""
    if not isinstance(stored, Mapping):
        return None
    try:
        return Lease(str(stored["host"]), int(stored["pid"]), float(stored["at"]))
    except (KeyError, TypeError, ValueError):
        return Lease("an unknown machine", 0, 0.0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@dataclass(frozen=True, slots=True)
class Version:
    """One index as the cluster's state describes it."""

    name: str
    aliases: frozenset[str]
    meta: Mapping[str, Any] = field(repr=False)
    """What it was made for: format, embedder, dims, space, language; empty for an index that is not ours."""
    state: Mapping[str, Any] = field(repr=False)
    """What changes: see `STATE`."""
    properties: Mapping[str, Any] = field(repr=False)
    settings: Mapping[str, Any] = field(repr=False)
    dynamic: str = "true"
    """What becomes of fields that are not mapped, as the mapping says it."""
    source: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`_source` of the mapping: what the index keeps of an entry."""

    @property
    def ours(self) -> bool:
        """This program made it; what others made is never written to or deleted."""
        return bool(self.meta)

    @property
    def epoch(self) -> int:
        """Grows with every index that the alias comes to, and each time it comes back: what was sent to one index in an
        earlier epoch, and lands in another late, is recognised as older than all that is there."""
        found = self.state.get("epoch", 0)
        return found if isinstance(found, int) else 0

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        return int(self.settings.get("creation_date", 0)) / 1000

    @property
    def replicas(self) -> int:
        return int(self.settings.get("number_of_replicas", 1))

    @property
    def write_blocked(self) -> bool:
        """No writes: by a reindex that is about to switch, or by others."""
        blocks = self.settings.get("blocks", {})
        return any(str(blocks.get(name, "")).lower() == "true" for name in ("write", "read_only", "read_only_allow_delete"))

    @property
    def blocked_by_others(self) -> bool:
        """No writes, and no reindex announced it: an operator wants it so, or the disk is full."""
        return self.write_blocked and "blocked" not in self.state


@dataclass(frozen=True, slots=True)
class Family:
    """An alias and all versions behind it: one reading of the cluster's state."""

    alias: str
    versions: tuple[Version, ...]
    """Those that are named after the alias, and those it points to; by number, strangers first."""
    in_the_way: bool
    """A real index stands where the alias should be."""

    @property
    def current(self) -> tuple[Version, ...]:
        """Where the alias points; one at most, in a healthy family."""
        return tuple(version for version in self.versions if self.alias in version.aliases)

    def find(self, name: str) -> Version | None:
        """A version by its name, or by its number alone."""
        wanted = version_name(self.alias, int(name)) if name.isdecimal() else name
        return next((version for version in self.versions if version.name == wanted), None)

    @property
    def next_name(self) -> str:
        return version_name(self.alias, max((number_of(self.alias, version.name) or 0 for version in self.versions), default=0) + 1)

    @property
    def next_epoch(self) -> int:
        return max((version.epoch for version in self.versions), default=0) + 1

    def built(self, version: Version) -> str | None:
        """The alias of whoever builds this version; None for one that is finished, and for what is not ours."""
        if not version.ours:
            return None
        return next((alias for alias in sorted(version.aliases) if alias.startswith(f"{version.name}.by-")), None)


def version_name(alias: str, number: int) -> str:
    return f"{alias}-{number:06d}"


def number_of(alias: str, name: str) -> int | None:
    """The number of a version; None for an index that is not named after the alias."""
    found = re.fullmatch(rf"{re.escape(alias)}-([0-9]{{6,18}})", name)
    return int(found.group(1)) if found else None


def building_alias(name: str, token: str) -> str:
    """The alias through which one builder, and nobody else, writes a version."""
    return f"{name}.by-{token}"


def read_family(alias: str, answer: Mapping[str, Any]) -> Family:
    """From the answer to `GET /{alias},{alias}-*`."""
    versions = []
    for name, entry in answer.items():
        aliases = frozenset(entry.get("aliases", {}))
        if name == alias or (number_of(alias, name) is None and alias not in aliases):
            continue  # another alias's index, whose name begins alike
        mappings = entry.get("mappings", {})
        stored = mappings.get("_meta", {})
        versions.append(
            Version(
                name,
                aliases,
                _mapping(stored.get(fields.META)),
                _mapping(stored.get(STATE)),
                mappings.get("properties", {}),
                entry.get("settings", {}).get("index", {}),
                str(mappings.get("dynamic", "true")).lower(),
                _mapping(mappings.get("_source")),
            )
        )
    versions.sort(key=lambda version: (number_of(alias, version.name) or 0, version.name))
    return Family(alias, tuple(versions), in_the_way=alias in answer)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def mapping_differences(expected: Mapping[str, Any], found: Mapping[str, Any], path: str = "") -> Sequence[str]:
    """Fields that the index maps otherwise than this release writes or reads them, each with both sides.

    Compared is what decides meaning: types, analysers by name (what they do follows the index's own language), what is
    indexed. How the vector graph is built (engine, m, ef_construction) may differ.
    """
    problems: list[str] = []
    for name, wanted in expected.items():
        has = found.get(name)
        if has is None:
            problems.append(f"{path}{name} is missing")
            continue
        differing = (key for key in _COMPARED if not _same(wanted, has, key))
        problems += [f"{path}{name} has {key} {_shown(has, key)}, not {_shown(wanted, key)}" for key in differing]
        problems += mapping_differences(wanted.get("fields", {}), has.get("fields", {}), f"{path}{name}.")
    return problems


_COMPARED = ("type", "index_options", "enabled", "index", "doc_values", "analyzer", "search_analyzer")
_DEFAULTS: Mapping[str, object] = {"enabled": True, "index": True, "doc_values": True, "type": "object"}


def _same(wanted: Mapping[str, Any], has: Mapping[str, Any], key: str) -> bool:
    default = _DEFAULTS.get(key)
    return str(wanted.get(key, default)).lower() == str(has.get(key, default)).lower()


def _shown(mapping: Mapping[str, Any], key: str) -> str:
    return str(mapping.get(key, _DEFAULTS.get(key, "unset")))


def layout_differences(expected: Mapping[str, Any], version: Version) -> Sequence[str]:
    """What an index does otherwise than ``expected``, the body of a new one, says: its fields, and what holds for all of them."""
    mappings = expected["mappings"]
    problems = [*mapping_differences(mappings["properties"], version.properties)]
    if version.dynamic != mappings["dynamic"]:
        problems.append(f"dynamic is {version.dynamic}, not {mappings['dynamic']}")
    if missing := set(mappings["_source"]["excludes"]) - {*_listed(version.source, "excludes")}:
        problems.append(f"_source does not exclude {', '.join(sorted(missing))}")
    window, wanted = int(version.settings.get("max_result_window", _SERVERS_WINDOW)), expected["settings"]["index"]["max_result_window"]
    if window < wanted:
        problems.append(f"max_result_window is {window}, not {wanted}")
    return problems


_SERVERS_WINDOW = 10_000


def lost_fields(expected: Mapping[str, Any], version: Version) -> Sequence[str]:
    """Fields that a new index keeps and this one does not: no reindex brings them back."""
    mappings = expected["mappings"]
    kept = [name for name in mappings["properties"] if name not in mappings["_source"]["excludes"]]
    if str(version.source.get("enabled", True)).lower() == "false":
        return kept
    includes, excludes = _listed(version.source, "includes"), _listed(version.source, "excludes")
    return [name for name in kept if _takes(excludes, name, f"{name}.") or (includes and not _takes(includes, name))]


def _listed(mapping: Mapping[str, Any], key: str) -> list[str]:
    found = mapping.get(key, [])
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _takes(patterns: Sequence[str], name: str, part: str | None = None) -> bool:
    """Whether a pattern of `_source` takes the whole field, or one that begins with ``part`` a part of it."""
    return any(fnmatchcase(name, pattern) or pattern == f"{name}.*" or (part is not None and pattern.startswith(part)) for pattern in patterns)
