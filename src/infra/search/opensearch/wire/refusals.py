"""An answer of OpenSearch that is no success, taken apart: its causes, the reason that tells most. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_REASON = 300
_PREVIEW = re.compile(r"\.?\s*Preview of field's value:.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of OpenSearch that is no success, taken apart."""

    status: int
    causes: tuple[tuple[str, str, Mapping[str, Any]], ...]
    """Type, reason and the whole of each cause, the outermost first."""
    text: str
    """The whole of a body that is not JSON, shortened."""
    host: str
    index: str

    def cause(self, *kinds: str) -> tuple[str, str, Mapping[str, Any]] | None:
        """The first cause of one of these types."""
        return next((found for found in self.causes if found[0] in kinds), None)

    @property
    def reason(self) -> str:
        """The innermost reason, which is the one that tells most."""
        said = [(kind, reason) for kind, reason, _ in self.causes if reason]
        kind, reason = said[-1] if said else ("", self.text)
        return shortened(f"{kind}: {reason}" if kind else reason)

    @property
    def where(self) -> str:
        return f" for the index {self.index!r}" if self.index else ""


def shortened(reason: str) -> str:
    """A server's reason on one line, without previews of field values or a full stop of its own."""
    text = " ".join(_PREVIEW.sub("", reason).split()).rstrip(".")
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 1]}…"


def causes(body: object, depth: int = 0) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every cause within an error, the outermost first."""
    if not isinstance(body, Mapping) or depth > 8:
        return
    error = body.get("error", body)
    if isinstance(error, str):
        yield "", error, body
        return
    if not isinstance(error, Mapping):
        return
    kind, reason = error.get("type"), error.get("reason")
    if isinstance(kind, str):
        yield kind, reason if isinstance(reason, str) else "", error
    elif isinstance(said := error.get("message", error.get("Message")), str):  # AWS in front of the cluster
        yield "", said, error
    if isinstance(reason, Mapping):  # one of `failed_shards` or `failures`
        yield from causes(reason, depth + 1)
    for name in ("root_cause", "failed_shards", "failures"):
        inner = error.get(name)
        for one in inner[:20] if isinstance(inner, list) else ():
            yield from causes(one, depth + 1)
    yield from causes(error.get("caused_by"), depth + 1)
