"""Records as others read them: JSON, NDJSON, CSV that no spreadsheet runs, and OCSF (`ocsf.py`)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ...errors import InputError
from .chain import Keyring, Record
from .ocsf import to_ocsf

Format = Literal["json", "csv", "ndjson", "ocsf"]
FORMATS: tuple[Format, ...] = ("json", "csv", "ndjson", "ocsf")
COLUMNS = (
    *("row", "n", "time", "action", "outcome", "user", "tenant", "documents", "object", "reason", "turn", "correlation_id"),
    *("facts", "chain", "key", "prev", "mac"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula when it stands first; the last four are their wide forms."""
_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Mapping[str, str] = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are exported; empty fields want all.

    Attributes:
        since: ISO 8601 in UTC, as records have it.
        user: with pseudonymous records all that stand for the user.
    """

    since: str = ""
    users: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()

    def __contains__(self, record: object) -> bool:
        assert isinstance(record, dict)
        return (
            record["time"] >= self.since and (not self.users or record.get("user", "") in self.users) and (not self.actions or record["action"] in self.actions)
        )


def wanted(keys: Keyring, *, since: str | None = None, user: str | None = None, actions: Iterable[str] = (), now: datetime | None = None) -> Wanted:
    """What the options of `rag audit export` mean.

    Args:
        since: ISO 8601 (UTC where it names no zone), or how long ago: 90m, 24h, 7d.

    Raises:
        InputError: ``since`` is neither.
    """
    users = frozenset({user, *keys.pseudonyms("user", user)}) if user else frozenset()
    return Wanted(_since(since, now or datetime.now(UTC)) if since else "", users, frozenset(actions))


def _since(text: str, now: datetime) -> str:
    try:
        span = _SPAN.fullmatch(text.strip())
        moment = now - timedelta(**{_UNITS[span[2]]: int(span[1])}) if span else datetime.fromisoformat(text.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(f"{text[:60]!r} is no time.", hint="Write 2026-11-21, 2026-11-21T09:30:00Z, or how long ago: 90m, 24h, 7d.") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exported(rows: Iterable[tuple[int, Record]], form: Format, version: str) -> Iterator[str]:
    """The text of an export, piece by piece.

    Args:
        version: this program's, for OCSF.
    """
    if form == "csv":
        yield from _csv(rows)
    elif form == "json":
        yield from _json(rows)
    else:
        shape: Callable[[int, Record], Mapping[str, Any]] = (lambda _, record: to_ocsf(record, version)) if form == "ocsf" else _with_row
        for row, record in rows:
            yield json.dumps(shape(row, record), ensure_ascii=True) + "\n"


def _with_row(row: int, record: Record) -> Mapping[str, Any]:
    return {"row": row, **record}


def _json(rows: Iterable[tuple[int, Record]]) -> Iterator[str]:
    opening = "["
    for row, record in rows:
        yield f"{opening}\n{json.dumps(_with_row(row, record), ensure_ascii=True)}"
        opening = ","
    yield "[]\n" if opening == "[" else "\n]\n"


def _csv(rows: Iterable[tuple[int, Record]]) -> Iterator[str]:
    yield _line(COLUMNS)
    for row, record in rows:
        known = {"row": row, **record}
        yield _line([cell(_flat(known.get(name, ""))) for name in COLUMNS])


def _flat(value: object) -> str:
    """Lists and objects as JSON: ids may hold any separator."""
    return json.dumps(value, ensure_ascii=True) if isinstance(value, (list, dict)) else str(value)


def cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before what would be one."""
    text = "".join(char if char >= " " or char in "\t\n\r" else f"\\x{ord(char):02x}" for char in text)
    text = text.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
