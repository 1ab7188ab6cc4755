"""What differs between two configurations, defaults included. Secrets are compared, and never shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import Settings
from .provenance import DEFAULT, Source
from .schema import FieldSpec, specs_of, value_of

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Side:
    """A key in one of the two."""

    value: object
    source: Source


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose values differ.

    Args:
        spec: the key.
        kind: `added` and `removed`: one of the two leaves it at its default; `changed`: both set it.
        before: the first configuration's.
        after: the second's.
    """

    spec: FieldSpec
    kind: Kind
    before: Side
    after: Side


def differences(first: Settings, second: Settings) -> tuple[Change, ...]:
    """The keys whose values differ, in order. The same value from another place is no difference."""
    specs = dict.fromkeys((*specs_of(first), *specs_of(second)))
    pairs = ((spec, _side(first, spec), _side(second, spec)) for spec in specs)
    return tuple(Change(spec, _kind(before, after), before, after) for spec, before, after in pairs if before.value != after.value)


def _side(settings: Settings, spec: FieldSpec) -> Side:
    return Side(value_of(settings, spec), settings.provenance.sources.get(spec.name, DEFAULT))


def _kind(before: Side, after: Side) -> Kind:
    if before.source.kind == "default":
        return "added"
    return "removed" if after.source.kind == "default" else "changed"
