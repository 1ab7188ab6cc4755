"""Which chunks a request may see: access scope and filters as one mask over the lines of the vector view."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....core.identity import AccessScope
from ....core.search import Filter
from ..access import principal_term
from .filters import Condition, compile_filter
from .truth import Truth
from .vectors import Lines
from .views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_CACHED_MASKS = 64


@dataclass(frozen=True, slots=True)
class Selection:
    """What one request may see.

    Attributes:
        mask: over the lines of the vector view; None where it is all that are alive.
        count: how many chunks that is.
        terms: access terms for the lexical view; None where the scope sees everything there.
        filtered: metadata filters narrow it beyond the scope.
    """

    mask: Mask | None
    count: int
    terms: tuple[str, ...] | None
    filtered: bool


class Selector:
    """Makes selections for one reader, keeping access lists and the newest masks."""

    def __init__(self) -> None:
        self._by_principal: dict[tuple[str, str], list[int]] = {}
        self._newest_acl = 0
        self._seq = -1
        self._masks: OrderedDict[tuple[int, str, object], tuple[Mask, int]] = OrderedDict()

    def select(self, truth: Truth, views: Views, scope: AccessScope, filters: Sequence[Filter]) -> Selection:
        """
        Raises:
            FilterError: a filter is malformed.
        """
        self.refresh(truth, views.seq)
        conditions = [(compile_filter(item), repr(item)) for item in filters]  # what cannot be compiled may not be spellable either
        lines = views.lines
        mask, count, terms = None, lines.live, None
        if not scope.system:
            terms = self._terms(scope)
            mask, count = self._cached(views.seq, "scope", scope, lambda: lines.alive & self.allowed(scope)[lines.acls])
            if count == lines.live:
                mask, terms = None, None
        for condition, key in conditions:
            part, _ = self._cached(views.seq, "filter", key, lambda condition=condition: _filter_mask(truth, lines, condition))  # type: ignore[misc]  # a default argument binds the loop's value
            mask = part if mask is None else mask & part
        if conditions and mask is not None:
            count = int(np.count_nonzero(mask))
        return Selection(mask, count, terms, bool(conditions))

    def _cached(self, seq: int, kind: str, key: object, make: Callable[[], Mask]) -> tuple[Mask, int]:
        full_key = (seq, kind, key)
        found = self._masks.get(full_key)
        if found is None:
            mask = make()
            found = self._masks[full_key] = (mask, int(np.count_nonzero(mask)))
            while len(self._masks) > _CACHED_MASKS:
                self._masks.popitem(last=False)
        self._masks.move_to_end(full_key)
        return found

    def refresh(self, truth: Truth, seq: int) -> None:
        """Learn the access lists that came up to ``seq``."""
        if seq == self._seq:
            return
        for key, tenant, principals in truth.acls(self._newest_acl):
            self._newest_acl = key
            for principal in principals:
                self._by_principal.setdefault((tenant, principal), []).append(key)
        self._seq = seq

    def allowed(self, scope: AccessScope) -> Mask:
        """True at the number of each access list that the scope meets."""
        lists = np.zeros(self._newest_acl + 1, dtype=bool)
        if scope.system:
            lists[:] = True
        for principal in scope.principals:
            lists[self._by_principal.get((scope.tenant, principal), [])] = True
        return lists

    def _terms(self, scope: AccessScope) -> tuple[str, ...]:
        known = sorted(principal for principal in scope.principals if (scope.tenant, principal) in self._by_principal)
        return tuple(principal_term(scope.tenant, principal) for principal in known)


def lookup(truth: Truth, condition: Condition) -> NDArray[np.int64]:
    """What the lookups of a condition give, sorted: chunk rows or document ordinals."""
    parts = [truth.column(sql, parameters) for sql, parameters in condition.lookups]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def _filter_mask(truth: Truth, lines: Lines, condition: Condition) -> Mask:
    found = lookup(truth, condition)
    column = lines.rows if condition.by_chunk else lines.docs
    inside: Mask = np.isin(column, found, assume_unique=False)
    return lines.alive & (~inside if condition.negate else inside)
