"""What a user said of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rating = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One user's word on one answer of their own, with what it takes to learn from it. Dates are ISO 8601, UTC.

    Attributes:
        retrieved: ids of the documents that were found for the question, the best first.
        cited: ids of those that the answer cites.
        versions: what answered, such as ``{"chat": "gpt-4o", "embed": "all-MiniLM-L6-v2"}``.
    """

    thread_id: str
    message_id: str
    rating: Rating
    comment: str
    question: str
    retrieved: tuple[str, ...]
    cited: tuple[str, ...]
    versions: Mapping[str, str]
    given_at: str
    tenant: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
