"""What `rag index list` shows of each version."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from .....errors import IndexMismatchError, ServicePermissionError, ServiceUnavailableError
from .. import fields
from .state import Family, Version, number_of

if TYPE_CHECKING:
    from .indices import Indices

State = Literal["in use", "kept", "unfinished", "foreign"]
"""`foreign`: named like a version, or behind the alias, but not made by this program."""


@dataclass(frozen=True, slots=True)
class Row:
    """One version. ``size_bytes`` is None where the user may not ask for it; ``fits``: the configured embedder can use it.

    Of what is foreign nothing is counted.
    """

    name: str
    number: int
    state: State
    documents: int
    chunks: int
    size_bytes: int | None
    created: str
    """ISO 8601, UTC."""
    embedder: str
    dims: int
    language: str
    write_blocked: bool
    fits: bool


async def list_rows(indices: Indices) -> list[Row]:
    """All versions behind the alias, the oldest first. Counts are those of each version's last refresh."""
    family = await indices.family()
    if family.in_the_way:
        indices.the_current(family)
    return [await _row(indices, family, version) for version in family.versions]


async def _row(indices: Indices, family: Family, version: Version) -> Row:
    documents, chunks = await _counts(indices, family, version) if version.ours else (0, 0)
    meta = version.meta
    return Row(
        name=version.name,
        number=number_of(family.alias, version.name) or 0,
        state=_state(family, version),
        documents=documents,
        chunks=chunks,
        size_bytes=await _size(indices, version.name),
        created=datetime.fromtimestamp(version.created, UTC).isoformat(timespec="seconds"),
        embedder=str(meta.get("embedder", "")),
        dims=int(meta.get("dims", 0)),
        language=str(meta.get("language", "")),
        write_blocked=version.write_blocked,
        fits=_fits(indices, version),
    )


def _state(family: Family, version: Version) -> State:
    if not version.ours:
        return "foreign"
    if family.alias in version.aliases:
        return "in use"
    return "unfinished" if family.built(version) else "kept"


async def _counts(indices: Indices, family: Family, version: Version) -> tuple[int, int]:
    """Documents and chunks."""
    counts = []
    for kind in (fields.DOCUMENT, fields.CHUNK):
        body = {"query": {"term": {fields.KIND: kind}}}
        try:
            counts.append(int((await indices.transport.perform("POST", f"/{version.name}/_count", body=body, index=version.name))["count"]))
        except ServiceUnavailableError:
            if family.built(version) is None:
                raise
            counts.append(0)  # it has just been made, and no shard of it answers yet
    return counts[0], counts[1]


async def _size(indices: Indices, name: str) -> int | None:
    with suppress(ServicePermissionError):
        answer = await indices.transport.perform("GET", f"/{name}/_stats/store", index=name)
        return int(answer["_all"]["primaries"]["store"]["size_in_bytes"])
    return None


def _fits(indices: Indices, version: Version) -> bool:
    try:
        indices.check(version)
    except IndexMismatchError:
        return False
    return True
