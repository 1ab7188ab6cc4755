"""Attributes of spans, points and log records: few, short, and of a bounded number of values."""

from __future__ import annotations

import threading
from collections.abc import Mapping

Value = str | int | float | bool

MAX_ATTRIBUTES = 24
MAX_LENGTH = 160
"""Characters of a value."""
MAX_VALUES = 200
"""Different values of one attribute of one metric; further ones count as `OTHER`."""
OTHER = "_other"


def short(text: str, most: int = MAX_LENGTH) -> str:
    """A text cut to so many characters; what UTF-8 cannot hold is replaced."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode()


def bounded(attributes: Mapping[str, object]) -> dict[str, Value]:
    """As many attributes as there may be, in their order, each a number or a short text; None is left out."""
    found: dict[str, Value] = {}
    for name, value in attributes.items():
        if value is not None:
            if len(found) == MAX_ATTRIBUTES:
                break
            known = name if len(name) <= MAX_LENGTH and name.isascii() else short(name)
            found[known] = value if isinstance(value, (bool, int, float)) else short(str(value))
    return found


class Labels:
    """Keeps the number of values of each metric's attributes bounded, for as long as the process runs. Safe to use from several threads.

    Args:
        most: values of an attribute.
        own: the same of single attributes, by their name.
    """

    def __init__(self, most: int = MAX_VALUES, own: Mapping[str, int] | None = None) -> None:
        self._most = most
        self._own = own or {}
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], set[Value]] = {}

    def of(self, metric: str, attributes: Mapping[str, object]) -> dict[str, Value]:
        """The attributes, with values beyond the bound replaced by `OTHER`."""
        return {name: self._known(metric, name, value) for name, value in bounded(attributes).items()}

    def _known(self, metric: str, name: str, value: Value) -> Value:
        if isinstance(value, bool):
            return value
        with self._lock:
            seen = self._seen.setdefault((metric, name), set())
            if value in seen:
                return value
            if len(seen) >= self._own.get(name, self._most):
                return OTHER
            seen.add(value)
            return value
