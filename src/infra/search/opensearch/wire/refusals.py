"""An answer of OpenSearch that is no success, taken apart: its causes, the reason that tells most. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_REASON = 300
_PREVIEW = re.compile(r"\.?\s*Preview of field's value:.*", re.DOTALL)
_ECHO = re.compile(
    r"\s*The Canonical String for this request.*|(?<=uthorization header)\s*[:=].*|\b(?:Bearer|Basic|AWS4-HMAC-SHA256|Credential=)\s*\S.*|"
    r"\b(?i:authorization|cookie|x-amz-security-token|x-api-key)\s*[:=].*",
    re.DOTALL,
)
"""Where what answered begins to repeat the request's own headers, as AWS does: they hold credentials."""
_ACCOUNT = re.compile(r"\s*(?:and\s+)?User \[name=.*", re.DOTALL)
_ARN = re.compile(r"\bUser: (?!anonymous\b)\S+")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of OpenSearch that is no success, taken apart."""

    status: int
    causes: tuple[tuple[str, str, Mapping[str, Any]], ...]
    """Type, reason and the whole of each cause, the outermost first."""
    text: str
    """A body that is not a JSON object, to look for what is known. Never repeated: what lies before a cluster echoes requests, or sends pages."""
    host: str
    index: str
    credential: str = "search.username"
    """The key of the credential that this server shows."""

    def cause(self, *kinds: str) -> tuple[str, str, Mapping[str, Any]] | None:
        """The first cause of one of these types."""
        return next((found for found in self.causes if found[0] in kinds), None)

    @property
    def page(self) -> bool:
        """The body is a web page."""
        return self.text.lstrip().startswith("<")

    @property
    def reason(self) -> str:
        """The innermost reason, which is the one that tells most; of JSON alone."""
        said = [(kind, reason) for kind, reason, _ in self.causes if reason]
        kind, reason = said[-1] if said else ("", "")
        return shortened(f"{kind}: {reason}" if kind else reason)

    @property
    def because(self) -> str:
        """The reason after a colon; nothing where there is none."""
        return f": {self.reason}" if self.reason else ""

    @property
    def where(self) -> str:
        return f" for the index {self.index!r}" if self.index else ""


def without_account(reason: str) -> str:
    """A reason without the name, roles or ARN of the account that this server uses: no matter of its callers."""
    return _ARN.sub("The account", _ACCOUNT.sub("", reason)).strip()


def shortened(reason: str) -> str:
    """A server's reason on one line, without previews of field values, echoed headers or a full stop of its own."""
    text = " ".join(_ECHO.sub("", _PREVIEW.sub("", reason)).split()).rstrip(".; ")
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
