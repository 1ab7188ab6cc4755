"""A line of progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Show = Callable[[str], None]


@contextmanager
def overwritten_line() -> Iterator[Show]:
    """Shows a text in place of the one before, on a terminal only."""
    stream: Any = sys.stderr
    if not stream.isatty():
        yield lambda _text: None
        return
    shown = False

    def show(text: str) -> None:
        nonlocal shown
        shown = True
        stream.write(f"\r\x1b[K{text}")
        stream.flush()

    try:
        yield show
    finally:
        if shown:
            stream.write("\n")
