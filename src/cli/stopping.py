"""SIGTERM, by which supervisors end a process, as Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """SIGTERM cancels the task that is in here, as Ctrl-C does (`CommandContext.run` makes a `KeyboardInterrupt` of that); further
    ones change nothing, so that clearing up is not cancelled as well."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: list[bool] = []

    def cancel() -> None:
        if task is not None and not told:
            told.append(task.cancel())

    try:
        loop.add_signal_handler(signal.SIGTERM, cancel)
    except NotImplementedError:  # Windows, where nobody sends it
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
