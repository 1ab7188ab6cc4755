"""What the optional packages are called, for whoever lacks one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import MissingExtraError


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Imports inside the block belong to an optional extra of this package.

    Args:
        extra: its name, as in ``founders-rag[mcp]``.
        what: what needs it, for people.

    Raises:
        MissingExtraError: one of the imports is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{what} needs the extra `{extra}`: {error.name} is not installed.", hint=f"Install founders-rag[{extra}].") from error
