"""Where the nodes of a run put what the caller should see at once."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.chat import TokenEvent
    from .state import Outcome

emitting: ContextVar[Callable[[TokenEvent | Outcome], None]] = ContextVar("emitting")
"""The run's own, known to its nodes by their context. By LangGraph's writer each sentence took three more waits of the event loop."""
