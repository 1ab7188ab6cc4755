"""Reading answers on OpenAI's wire, as JSON or as the `openai` package's objects, which it makes of any JSON, unchecked: each part is looked at before it
is used."""

from __future__ import annotations

from typing import Any

_PLAIN = (str, int, float, list)
"""What has no parts with names."""


class ShapeError(ValueError):
    """JSON of another shape than the protocol's: what answered is not the service.

    Args:
        what: answered, in words.
    """

    def __init__(self, what: str = "JSON of another shape") -> None:
        super().__init__(what)


def parsed(answer: Any) -> Any:
    """A whole answer; where it was no JSON, as a web page is not, the package hands on its text."""
    if isinstance(answer, str):
        raise ShapeError("no JSON")
    return answer


def part(thing: Any, name: str) -> Any:
    """A part of an object; None where it is missing."""
    if isinstance(thing, dict):
        return thing.get(name)
    if thing is None or isinstance(thing, _PLAIN):
        raise ShapeError
    return getattr(thing, name, None)


def text_part(thing: Any, name: str) -> str:
    """Likewise of a text; empty where it is missing."""
    value = part(thing, name)
    if value is None or isinstance(value, str):
        return value or ""
    raise ShapeError


def list_part(thing: Any, name: str) -> list[Any]:
    """Likewise of a list."""
    value = part(thing, name)
    if value is None or isinstance(value, list):
        return value or []
    raise ShapeError


def whole(value: Any) -> int | None:
    """A whole number; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def count(thing: Any, name: str) -> int:
    """A number of something in a part that may be missing or unusable: 0 then, for no answer is worth less without it."""
    return max(0, whole(thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)) or 0)
