"""The index behind the alias: found, checked against the embedder, made where it is missing.

What `rag index` does with versions is `lifecycle.py`; how the cluster's state is read is `versions.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .....errors import ConflictError, IndexMismatchError, IndexMissingError, MappingConflictError
from .....telemetry.logger import get_logger
from ....resilience.retry import RetryPolicy
from ....search_config import index_body
from .. import fields
from ..wire.failures import classify
from .healing import TIMEOUT_S, heal
from .state import STATE, Family, Version, layout_differences, lost_fields, number_of, read_family

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ..wire.transport import Transport

log = get_logger(__name__)

SETTING = "search.index_alias"
REINDEX = "`rag index reindex` makes a new one from what it holds."
REBUILD = "Build it anew beside the old one with `rag ingest --rebuild PATH…`."

_TTL_S = 5.0
_MAKING = RetryPolicy(5)


@dataclass(frozen=True, slots=True)
class IndexState:
    """The index that the alias points to, checked to fit the embedder."""

    name: str
    alias: str
    number: int
    """Its version; 0 for an index that is not named after the alias."""
    embedder: str
    dims: int
    space: str
    language: str
    write_blocked: bool
    epoch: int
    """Orders what is written: see `Version.epoch`."""
    version: Version = field(repr=False)


class Indices:
    """The versions of one alias.

    Args:
        transport: how requests travel.
        cfg: `index_alias`, and what a new index is made of.
        embedder: identity of the embedding model that this client uses.
        dims: length of its vectors.
        may_create: `ensure` makes a missing index; a builder's own alias (see `versions.py`) must never be made again.
        ttl_s: seconds that a reading of the cluster's state is trusted.
    """

    def __init__(self, transport: Transport, cfg: SearchCfg, embedder: str, dims: int, *, may_create: bool = True, ttl_s: float = _TTL_S) -> None:
        self.transport = transport
        self.cfg = cfg
        self.embedder = embedder
        self.dims = dims
        self.may_create = may_create
        self._ttl_s = ttl_s
        self._known: tuple[float, IndexState] | None = None

    @property
    def alias(self) -> str:
        return self.cfg.index_alias

    async def family(self) -> Family:
        """All versions, as one reading of the cluster's state."""
        # One request, so that no alias can move between two readings.
        answer = await self.transport.perform(
            "GET",
            f"/{self.alias},{self.alias}-*",
            params={"ignore_unavailable": "true", "allow_no_indices": "true", "expand_wildcards": "all"},
            index=self.alias,
        )
        return read_family(self.alias, answer)

    async def current(self) -> IndexState:
        """The index behind the alias; trusted for a few seconds, then read again.

        Raises:
            IndexMissingError: there is none.
            MappingConflictError: a field is mapped otherwise than this release writes or reads it.
            IndexMismatchError: another embedder, length, space or format made it; the alias points to two indices, or is an index itself.
        """
        if self._known is not None and time.monotonic() - self._known[0] < self._ttl_s:
            return self._known[1]
        return self._remember(self._state(await self.family()))

    async def ensure(self) -> IndexState:
        """`current` for writers: a missing index is made, and what a killed command left behind is put right.

        Any number of processes may ask at once; they end with one index.

        Raises:
            As `current`; IndexMissingError where versions exist, but the alias points to none of them.
        """
        if self._known is not None and time.monotonic() - self._known[0] < self._ttl_s:
            return self._known[1]
        retries = _MAKING.start()
        while True:
            family = await self.family()
            if family.current or family.in_the_way or not self.may_create or _finished(family):
                break
            if await self.put(family.next_name, self.body(self.alias, {"epoch": family.next_epoch})):
                log.info("index made", index=family.next_name, alias=self.alias)
            elif not await retries.again():  # another process was faster; its alias comes with its index
                break
        if len(family.current) == 1 and await heal(self.transport, family.current[0]):
            family = await self.family()
        return self._remember(self._state(family))

    def forget(self) -> None:
        """Read the cluster's state again at the next question: the alias has moved, or a write met a block."""
        self._known = None

    def body(self, alias: str | None = None, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Settings and mappings of a new index for this embedder, its first alias, and its changing `_meta`."""
        cfg = self.cfg
        body = index_body(embedder=self.embedder, dims=self.dims, language=cfg.language, size=cfg.size, engine=cfg.knn_engine, replicas=cfg.replicas)
        if state:
            body["mappings"]["_meta"][STATE] = dict(state)
        return body if alias is None else {**body, "aliases": {alias: {}}}

    async def put(self, name: str, body: Mapping[str, Any]) -> bool:
        """Make an index; False where it is there already."""
        status, answer = await self.transport.perform_raw("PUT", f"/{name}", body=body, timeout_s=TIMEOUT_S, retry=False, index=name)
        if status < 400:
            return True
        if "resource_already_exists_exception" in str(answer):
            return False
        raise classify(status, answer, self.transport.host, name).error

    def check(self, version: Version) -> None:
        """
        Raises:
            IndexMismatchError, MappingConflictError: as `current`.
        """
        self.check_made_for(version)
        self._check_mapping(version)

    def check_made_for(self, version: Version) -> None:
        """
        Raises:
            IndexMismatchError: it is not ours or of another format, holds vectors of another embedder, or does not keep what was written.
        """
        self.check_ours(version)
        meta, hop = version.meta, self.transport.host
        if meta.get("format") != fields.FORMAT:
            message = f"The index {version.name} has format {meta.get('format')}; this release reads {fields.FORMAT}."
            raise IndexMismatchError(message, setting=SETTING, hop=hop, hint=REBUILD)
        made, asked = (meta.get("embedder"), meta.get("dims")), (self.embedder, self.dims)
        if made != asked:
            raise IndexMismatchError(
                f"The index {version.name} holds vectors of {made[0]} ({made[1]} dimensions); the configuration asks for {asked[0]} ({asked[1]} dimensions).",
                setting="embed.model",
                hop=hop,
                hint=f"Configure the model that made it, or: {REBUILD}",
            )
        if lost := lost_fields(self.body(), version):
            raise IndexMismatchError(f"The index {version.name} does not keep {', '.join(lost)} in its _source.", setting=SETTING, hop=hop, hint=REBUILD)

    def check_ours(self, version: Version) -> None:
        """No force gets past this: what others made is never written to, deleted, or given to the alias.

        Raises:
            IndexMismatchError: this program did not make it.
        """
        if not version.ours:
            message = f"The index {version.name} was not made by this program; nothing of it is touched."
            raise IndexMismatchError(message, setting=SETTING, hop=self.transport.host, hint="Choose another [search] index_alias.")

    def _check_mapping(self, version: Version) -> None:
        hop = self.transport.host
        problems = [*layout_differences(self.body(), version)]
        if not problems:
            vector = version.properties[fields.VECTOR]
            space = vector.get("space_type") or vector.get("method", {}).get("space_type") or "l2"
            if space != fields.SPACE:
                message = f"The index {version.name} compares vectors by {space}; this release by {fields.SPACE}."
                raise IndexMismatchError(message, setting=SETTING, hop=hop, hint=REBUILD)
            if vector.get("dimension") != self.dims:
                problems = [f"{fields.VECTOR} has {vector.get('dimension')} dimensions, not {self.dims}"]
        if problems:
            listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
            raise MappingConflictError(
                f"The index {version.name} is mapped otherwise than this release reads it: {listed}.", setting=SETTING, hop=hop, hint=REINDEX
            )

    def _remember(self, state: IndexState) -> IndexState:
        self._known = (time.monotonic(), state)
        return state

    def _state(self, family: Family) -> IndexState:
        version = self.the_current(family)
        self.check(version)
        return IndexState(
            name=version.name,
            alias=self.alias,
            number=number_of(self.alias, version.name) or 0,
            embedder=str(version.meta["embedder"]),
            dims=int(version.meta["dims"]),
            space=str(version.meta.get("space", fields.SPACE)),
            language=str(version.meta.get("language", "")),
            write_blocked=version.write_blocked,
            epoch=version.epoch,
            version=version,
        )

    def the_current(self, family: Family) -> Version:
        """Where the alias points, whatever is there.

        Raises:
            IndexMissingError: nowhere.
            IndexMismatchError: to two indices, or it is no alias.
        """
        hop = self.transport.host
        if family.in_the_way:
            raise IndexMismatchError(
                f"{self.alias} is an index of its own on this cluster; it should be an alias.",
                setting=SETTING,
                hop=hop,
                hint="Choose another [search] index_alias; nothing of that index is touched.",
            )
        if len(family.current) > 1:
            names = ", ".join(version.name for version in family.current)
            raise IndexMismatchError(
                f"The alias {self.alias} points to several indices: {names}.", setting=SETTING, hop=hop, hint="Choose one: `rag index switch NAME`."
            )
        if family.current:
            return family.current[0]
        if not self.may_create:
            raise ConflictError(f"Another command took over what {self.alias} was built through.", setting=SETTING, hop=hop, hint="Run the command again.")
        if finished := _finished(family):
            hint = f"`rag index switch {finished[-1].name}` points it to the newest version that is there; `rag index create` makes an empty one."
        else:
            hint = "Read documents into it with `rag ingest PATH…`, or check index_alias."
        raise IndexMissingError(f"There is no index behind the alias {self.alias}.", setting=SETTING, hop=hop, hint=hint)


def _finished(family: Family) -> list[Version]:
    return [version for version in family.versions if version.ours and family.built(version) is None]
