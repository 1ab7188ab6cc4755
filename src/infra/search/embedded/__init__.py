"""The engine that needs no server. `EmbeddedSearch` is loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import EmbeddedSearch

__all__ = ["EmbeddedSearch"]


def __getattr__(name: str) -> Any:
    if name == "EmbeddedSearch":
        from .engine import EmbeddedSearch

        return EmbeddedSearch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
