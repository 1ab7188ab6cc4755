"""Threads that nothing waits for at exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..errors import OverloadedError


def start_daemon(name: str, target: Callable[..., object], *args: Any) -> None:
    """Run it in a thread of its own; neither the end of the program nor that of an event loop waits for it.

    Raises:
        OverloadedError: the process may have no more threads.
    """
    try:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()
    except RuntimeError:
        hint = "Raise the limit of processes and threads (ulimit -u, the container's pids), or ask for less at once."
        raise OverloadedError("This process can start no thread.", hint=hint) from None
