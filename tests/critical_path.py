"""Where the time of a trace went: the chain of spans that its end waited for, each with what it did itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timed:
    """A span's place in a trace; times in nanoseconds, of one clock."""

    id: str
    parent: str
    name: str
    begun: int
    ended: int

    @property
    def taken(self) -> int:
        return self.ended - self.begun


@dataclass(frozen=True, slots=True)
class Step:
    """A span on the path, and how much of the path's time was its own: while none of its children was waited for."""

    span: Timed
    own: int


def children_of(spans: Sequence[Timed]) -> dict[str, list[Timed]]:
    """By their parent, the last to end first."""
    found: dict[str, list[Timed]] = {}
    for span in spans:
        found.setdefault(span.parent, []).append(span)
    for children in found.values():
        children.sort(key=lambda span: (span.ended, span.begun), reverse=True)
    return found


def critical_path(root: Timed, children: Mapping[str, Sequence[Timed]]) -> list[Step]:
    """From the end back: what a span waited for last, before that what that one waited for, and so on to its beginning.

    Of children that ran beside one another the one that ended last is on the path. Nothing is cut to fit: where children lie
    within their parents the parts sum to the whole, and where a clock or a parent is wrong they do not.
    """
    own, waited, reached = root.taken, [], root.ended
    for child in children.get(root.id, ()):
        if child.ended <= reached or not waited:
            waited.append(child)
            own -= max(0, min(child.ended, root.ended) - max(child.begun, root.begun))
            reached = child.begun
    return [Step(root, own), *(step for child in reversed(waited) for step in critical_path(child, children))]
