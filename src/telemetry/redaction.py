"""What must not be kept, taken out of a text: `redact`. The one policy of logs, telemetry, audit and errors. Pure.

`redact("mail ann@example.com")` is ``mail [redacted:email]``. Redacting twice changes nothing more. Other forms of digits
and letters (full width, mathematical) and invisible characters in between hide nothing.

Kinds: ``secret``, ``email``, ``phone``, ``card``, ``account``, and those of own patterns by their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from ..util.plain_text import as_seen
from .redaction_numbers import accounts, cards, emails, phones
from .redaction_secrets import kind_of_name, says_nothing, secrets

Place = tuple[int, int]
Finder = Callable[[str], Iterable[Place]]
"""Where something stands in a text: starts and ends."""

_DONE = re.compile(r"\[redacted:[a-z][a-z0-9_-]{0,39}\]")
_HINT = re.compile(
    r"[0-9@:=]|-----|--[A-Za-z]|</|[\"']\s{0,4},|[-_./][A-Za-z_/-]{8}|[A-Z]{12}|[A-Za-z_-]{24}|(?i:bearer|basic|negotiate|ntlm|token|authorization|cookie|eyj|password)"
)
"""What every text that holds one of the kinds holds; keys of known makers may be of letters alone."""
MAX_DEPTH = 8
MAX_ROUNDS = 8
MAX_VALUE = 8192
"""Characters of a value that are kept."""

BUILT_IN: tuple[tuple[str, Finder], ...] = (("secret", secrets), ("email", emails), ("card", cards), ("account", accounts), ("phone", phones))
"""In the order in which they name what several of them find."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is found, by name of its kind; own kinds come after the built-in ones.

    Args:
        own: further kinds. They see the text as `as_seen` makes it.
    """

    own: tuple[tuple[str, Finder], ...] = ()

    def redact(self, text: str) -> str:
        """The text with ``[redacted:KIND]`` in place of what was found."""
        if not self.own and _HINT.search(text) is None and text.isascii():
            return text
        # What was found hides what stands right beside it, such as a number that was taken for the end of another.
        for _ in range(MAX_ROUNDS):
            seen, places = as_seen(text)
            found = self.found(seen)
            if not found:
                break
            text = _replaced(text, found if places is None else [(places[start], places[end - 1] + 1, kind) for start, end, kind in found])
        return text

    def found(self, seen: str) -> list[tuple[int, int, str]]:
        """Starts, ends and kinds, in order and apart from one another."""
        done = [place.span() for place in _DONE.finditer(seen)] if "[redacted:" in seen else []
        hits = [(start, end, rank, kind) for rank, (kind, find) in enumerate((*BUILT_IN, *self.own)) for start, end in find(seen) if start < end]
        apart = [hit for hit in hits if not any(start < hit[1] and hit[0] < end for start, end in done)] if done else hits
        return list(_merged(sorted(apart)))


def _merged(hits: Sequence[tuple[int, int, int, str]]) -> Iterator[tuple[int, int, str]]:
    current: tuple[int, int, int, str] | None = None
    for hit in hits:
        if current is None or hit[0] >= current[1]:
            if current is not None:
                yield current[0], current[1], current[3]
            current = hit
        else:
            first = min(current, hit, key=lambda one: one[2])
            current = (current[0], max(current[1], hit[1]), first[2], first[3])
    if current is not None:
        yield current[0], current[1], current[3]


def _replaced(text: str, found: Sequence[tuple[int, int, str]]) -> str:
    if not found:
        return text
    parts, last = [], 0
    for start, end, kind in found:
        parts += [text[last:start], f"[redacted:{kind}]"]
        last = end
    return "".join((*parts, text[last:]))


_policy = Policy()


def use_policy(policy: Policy) -> None:
    """Let `redact` follow this policy from now on, in the whole process."""
    global _policy  # noqa: PLW0603 - one policy a process, as one logging
    _policy = policy


def redact(text: str) -> str:
    """The text with ``[redacted:KIND]`` in place of secrets, e-mail addresses, telephone, card and account numbers, and what own patterns find."""
    return _policy.redact(text)


def redact_value(value: object, name: str = "", depth: int = 0) -> object:
    """A value of a field, redacted: texts by `redact`, fields by their names too, collections within; numbers that are none stay.

    Beyond `MAX_DEPTH` what is left is redacted as text.
    """
    if value is None or isinstance(value, bool):
        return value
    kind = kind_of_name(name) if name else ""
    if kind and not says_nothing(value):
        return f"[redacted:{kind}]"
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON has no such number
    if isinstance(value, int | float):
        shown = redact(str(value))
        return value if shown == str(value) else shown
    if isinstance(value, str):
        return redact_part(value)
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return {redact(str(key)): redact_value(item, str(key), depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | bytes):
            # Name and value, as headers are often given.
            first = value[0] if isinstance(value[0], str) else value[0].decode("latin-1")
            # Under `auth` they are a user and a password, as HTTP clients take them.
            return [redact_part(first), redact_value(value[1], "password" if name.lower().endswith("auth") else first, depth + 1)]
        if isinstance(value, list | tuple | set | frozenset):
            return [redact_value(item, "", depth + 1) for item in value]
    return redact_part(str(value))


def redact_part(text: str, most: int = MAX_VALUE) -> str:
    """So many characters of a text at most, redacted; what the end would cut in two is looked for in twice as many."""
    shown = redact(text if len(text) <= 2 * most else text[: 2 * most])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
