"""Threads that nobody waits for: what blocks in one, such as a file that never answers, holds up neither a deadline nor Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any


class LooseThreads(ThreadPoolExecutor):
    """One daemon thread for each piece of work; closing it waits for none.

    For the event loop of a diagnosis: the loop's own threads are waited for at its end, those of product code within it too.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start at once."""
        promise: Future[Any] = Future()
        threading.Thread(target=_run, args=(promise, fn, args, kwargs), name="rag-doctor", daemon=True).start()
        return promise


def _run(promise: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not promise.set_running_or_notify_cancel():
        return
    with suppress(RuntimeError):  # the loop is closed: nobody waits for it
        try:
            outcome = fn(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            promise.set_exception(error)
        else:
            promise.set_result(outcome)
