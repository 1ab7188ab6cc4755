"""Errors without the frames they came through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..errors import RagError

T = TypeVar("T")


def without_frames(work: Callable[[], T]) -> T:
    """Do it; an error of ours loses the frames of ``work`` from its traceback.

    For work whose local variables hold secrets (passwords, private keys, requests that carry tokens): some programs show those of
    every frame with a traceback, as rich does with `show_locals`.
    """
    try:
        return work()
    except RagError as error:
        raise error.with_traceback(None) from None
