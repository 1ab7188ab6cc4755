"""What `rag index` does with the versions behind an alias: build aside, publish, go back, delete.

A version that is being built carries its builder's own alias (`versions.building_alias`), through which alone the builder
writes. To take over what another builder left unfinished, that alias is moved in one atomic call that fails if it is not
there any more: of two that try, one gets it, and a builder that comes back to life writes to an alias that is gone. What is
deleted is taken over first, so that nobody deletes what another has just gone on with.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .....errors import ConflictError, IndexMissingError, NotFoundError, RagError
from .....telemetry.logger import get_logger
from ....search_config import loading, serving
from .. import fields
from ..wire.failures import classify
from .healing import TIMEOUT_S, heal, save_settings, save_state
from .indices import SETTING, Indices
from .state import Family, Lease, Version, Work, building_alias, number_of, read_lease

log = get_logger(__name__)

_TRIES = 6
_GOING_ON: Mapping[str, str] = {
    "reindex": "`rag index reindex` goes on with it.",
    "copy": "`rag index copy --from embedded --to opensearch` goes on with it.",
    "rebuild": "`rag ingest --rebuild PATH…` deletes it and builds another.",
    "create": "`rag index create` deletes it and makes another.",
}
"""What the command that left a version unfinished does with it when it is run again."""


@dataclass(frozen=True, slots=True)
class Building:
    """A version that this process builds."""

    name: str
    alias: str
    """What it is written through; gone once another process has taken the building over."""
    work: Work
    source: str | None
    """The index that it is to take the place of; None where there was none."""
    resumed: bool


class Lifecycle:
    """
    Args:
        indices: those of the production alias.
    """

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self._transport = indices.transport

    # -- building aside

    async def begin(self, work: Work, *, resume: bool = False) -> Building:
        """Make the next version, or with ``resume`` go on with one that a killed command of the same kind left unfinished.

        What others left unfinished is deleted.

        Raises:
            ConflictError: another command is building a version now.
            IndexMismatchError: the alias points to several indices or to one that is not ours, or is an index itself.
        """
        for _ in range(_TRIES):
            family = await self._indices.family()
            self._refuse_company(family)
            for version in family.current:  # the alias that we would move serves somebody else
                self._indices.check_ours(version)
            source = self._indices.the_current(family).name if family.current or family.in_the_way else None
            left = self._left_by_the_same(family, work, source) if resume else None
            if left is not None:
                taken = await self._take_over(left, family, work, source)
                if taken is not None:
                    await self.renew(taken)
                    return taken
            elif await self._clear(family, work, source):
                made = Building(family.next_name, _new_alias(family.next_name), work, source, resumed=False)
                if await self._indices.put(made.name, self._body(made, family.next_epoch)):
                    return made
        raise ConflictError("Other commands keep making versions of this index.", setting=SETTING, hint="Try again when they have ended.")

    def _body(self, building: Building, epoch: int) -> dict[str, Any]:
        body = self._indices.body(building.alias, {"epoch": epoch, "building": _announcement(building)})
        body["settings"]["index"] |= loading()
        return body

    def _refuse_company(self, family: Family) -> None:
        for version in family.versions:
            lease = read_lease(_building(version).get("by"))
            if family.built(version) and lease is not None and not lease.given_up():
                raise ConflictError(
                    f"{lease} is building {version.name} ({_building(version).get('work', 'unknown')}).",
                    setting=SETTING,
                    hint="Wait for it; if it is dead, its claim lapses one minute after its last sign of life.",
                )

    def _left_by_the_same(self, family: Family, work: Work, source: str | None) -> Version | None:
        """The newest unfinished version of the same work, source and recipe."""
        for version in reversed(family.versions):
            stored = _building(version)
            if family.built(version) and (stored.get("work"), stored.get("source")) == (work, source) and self._same_recipe(version):
                return version
        return None

    async def _take_over(self, version: Version, family: Family, work: Work, source: str | None) -> Building | None:
        """An unfinished version, now ours; None where another command was faster."""
        mine = Building(version.name, _new_alias(version.name), work, source, resumed=True)
        before = {"remove": {"index": version.name, "alias": family.built(version), "must_exist": True}}
        return mine if await self._move(before, {"add": {"index": version.name, "alias": mine.alias}}) else None

    def _same_recipe(self, version: Version) -> bool:
        wanted = self._indices.body()["mappings"]
        return dict(version.meta) == dict(wanted["_meta"][fields.META])

    async def _clear(self, family: Family, work: Work, source: str | None) -> bool:
        """Delete what others left unfinished; False where one of it is not what was read any more.

        Only what was taken over is deleted: another command may have gone on with it meanwhile.
        """
        for version in family.versions:
            if family.built(version):
                if await self._take_over(version, family, work, source) is None:
                    return False
                log.info("a version that was never finished is deleted", index=version.name)
                await self._drop(version.name)
        return True

    async def renew(self, building: Building) -> None:
        """Say that the building goes on."""
        with _held(building):
            await save_state(self._transport, building.alias, {"building": _announcement(building)})

    async def release(self, building: Building) -> None:
        """Leave the building unfinished, for the next command to go on with or to delete; nothing is said where that fails."""
        try:
            await save_state(self._transport, building.alias, {"building": {**_announcement(building), "by": None}})
        except RagError as error:
            log.warning("a building could not be released; its claim lapses by itself", index=building.name, reason=str(error))

    async def restore(self, building: Building) -> None:
        """From loading to serving: refresh and replicas as `[search]` says, and everything written is searchable."""
        cfg = self._indices.cfg
        settings = {"number_of_replicas": 0, **serving(cfg.size, cfg.replicas)}
        with _held(building):
            await save_settings(self._transport, building.alias, settings)
            await self._transport.perform("POST", f"/{building.alias}/_refresh", timeout_s=cfg.bulk_timeout_s, index=building.name)

    async def publish(self, building: Building) -> str | None:
        """Let the alias point to what was built, in one atomic call; the old index stays. Returns its name.

        Raises:
            ConflictError: the alias has moved since, or another process took the building over; nothing is changed.
        """
        await self.restore(building)
        family = await self._indices.family()
        old = self._indices.the_current(family).name if family.current else None
        if old != building.source:
            moved = f"moved from {building.source or 'nothing'} to {old or 'nothing'}"
            raise ConflictError(f"The alias {self._indices.alias} {moved} meanwhile.", setting=SETTING, hint="Run the command again.")
        with _held(building):
            await save_state(self._transport, building.alias, {"previous": old})
        actions: list[Mapping[str, Any]] = [{"add": {"index": building.name, "alias": self._indices.alias}}]
        actions.append({"remove": {"index": building.name, "alias": building.alias, "must_exist": True}})
        if old is not None:
            actions.append({"remove": {"index": old, "alias": self._indices.alias, "must_exist": True}})
        if not await self._move(*actions):
            raise _lost(building)
        log.info("alias moved", alias=self._indices.alias, index=building.name, before=old or "")
        return old

    async def abandon(self, building: Building) -> None:
        """Delete what was built, if it still is ours."""
        if await self._move({"remove": {"index": building.name, "alias": building.alias, "must_exist": True}}):
            await self._drop(building.name)

    # -- moving the alias

    async def create(self) -> str:
        """A new, empty version; the alias points to it only where it pointed nowhere."""
        building = await self.begin("create")
        await self.restore(building)
        family = await self._indices.family()
        if not family.current:
            await self.publish(building)
        else:
            await self._move({"remove": {"index": building.name, "alias": building.alias, "must_exist": True}})
        return building.name

    async def switch(self, wanted: str, *, force: bool = False) -> tuple[str | None, str]:
        """Point the alias to a version, by name or number; (before, after).

        Raises:
            NotFoundError: no such version.
            ConflictError: it is still being built.
            IndexMismatchError: it is not ours; or it does not fit the configured embedder or the alias points to what is not ours, and
                ``force`` is not given.
        """
        family = await self._indices.family()
        version = family.find(wanted)
        if version is None:
            raise NotFoundError(f"There is no version {wanted} of {family.alias}.", setting=SETTING, hint=f"There are: {_names(family.versions) or 'none'}.")
        self._indices.check_ours(version)
        if family.built(version):
            raise _unfinished(version)
        if not force:
            self._indices.check(version)
            for old in family.current:
                self._indices.check_ours(old)
        olds = [old.name for old in family.current if old.name != version.name]
        if not olds and self._indices.alias in version.aliases:
            return version.name, version.name
        await self._point(family, version, previous=olds[0] if olds else None)
        return (olds[0] if olds else None), version.name

    async def _point(self, family: Family, version: Version, previous: str | None = None) -> None:
        changes = {"epoch": family.next_epoch} | ({"previous": previous} if previous else {})
        await save_state(self._transport, version.name, changes)
        removals = [{"remove": {"index": old.name, "alias": family.alias, "must_exist": True}} for old in family.current if old.name != version.name]
        if not await self._move({"add": {"index": version.name, "alias": family.alias}}, *removals):
            raise ConflictError(f"The alias {family.alias} moved meanwhile.", hint="Look with `rag index list`, and run the command again.")
        await heal(self._transport, version)

    async def rollback(self, *, force: bool = False) -> tuple[str, str]:
        """Point the alias to the version that it pointed to before; (before, after).

        Raises:
            NotFoundError: there is none.
            IndexMismatchError: as `switch`.
        """
        family = await self._indices.family()
        current = self._indices.the_current(family)
        target = _before(family, current)
        if target is None:
            raise NotFoundError(f"There is no version before {current.name}.", setting=SETTING, hint=f"There are: {_names(family.versions)}.")
        if not force:
            self._indices.check_ours(current)
            self._indices.check(target)
        await self._point(family, target)
        return current.name, target.name

    async def delete(self, wanted: str, *, force: bool = False) -> str:
        """Delete a version; its name.

        Raises:
            NotFoundError: no such version.
            IndexMismatchError: it is not ours.
            ConflictError: the alias points to it, or a live command builds it, and ``force`` is not given.
        """
        family = await self._indices.family()
        version = family.find(wanted)
        if version is None:
            raise NotFoundError(f"There is no version {wanted} of {family.alias}.", setting=SETTING, hint=f"There are: {_names(family.versions) or 'none'}.")
        self._indices.check_ours(version)
        if not force:
            if family.alias in version.aliases:
                raise ConflictError(
                    f"{version.name} is in use: the alias {family.alias} points to it.", hint="Switch to another version first, or add --force."
                )
            lease = read_lease(_building(version).get("by"))
            if family.built(version) and lease is not None and not lease.given_up():
                raise ConflictError(f"{lease} is building {version.name}.", hint="Wait for it, or add --force.")
        await self._drop(version.name)
        return version.name

    # -- requests

    async def _move(self, *actions: Mapping[str, Any]) -> bool:
        """Alias actions, all or none; False where one did not find its alias."""
        self._indices.forget()
        status, answer = await self._transport.perform_raw(
            "POST", "/_aliases", body={"actions": list(actions)}, timeout_s=TIMEOUT_S, retry=False, index=self._indices.alias
        )
        if status < 400:
            return True
        if status == 404:
            return False
        raise classify(status, answer, self._transport.host, self._indices.alias).error

    async def _drop(self, name: str) -> None:
        self._indices.forget()
        try:
            await self._transport.perform("DELETE", f"/{name}", timeout_s=TIMEOUT_S, index=name)
        except IndexMissingError:
            return  # somebody was faster


def _new_alias(name: str) -> str:
    return building_alias(name, uuid.uuid4().hex[:12])


def _unfinished(version: Version) -> ConflictError:
    stored = _building(version)
    lease = read_lease(stored.get("by"))
    if lease is not None and not lease.given_up():
        return ConflictError(f"{lease} is building {version.name}.", hint="Wait for it.")
    work = str(stored.get("work", "unknown"))
    hint = _GOING_ON.get(work, f"`rag index delete {version.name}` deletes it.")
    return ConflictError(f"{version.name} was never finished ({work}).", hint=hint)


def _lost(building: Building) -> ConflictError:
    return ConflictError(f"Another command took over {building.name}, or moved the alias meanwhile.", setting=SETTING, hint="Run the command again.")


@contextmanager
def _held(building: Building) -> Iterator[None]:
    """What is asked of a building inside fails as a conflict once its alias is gone."""
    try:
        yield
    except IndexMissingError as error:
        raise _lost(building) from error


def _building(version: Version) -> Mapping[str, Any]:
    stored = version.state.get("building")
    return stored if isinstance(stored, Mapping) else {}


def _announcement(building: Building) -> dict[str, Any]:
    return {"work": building.work, "source": building.source, "by": Lease.mine().as_json()}


def _before(family: Family, current: Version) -> Version | None:
    """The version that the alias came from, else the newest finished one with a lower number."""
    remembered = family.find(str(current.state["previous"])) if current.state.get("previous") else None
    if remembered is not None and remembered.ours and not family.built(remembered):
        return remembered
    number = number_of(family.alias, current.name) or 0
    finished = [version for version in family.versions if version.ours and not family.built(version)]
    older = [version for version in finished if 0 < (number_of(family.alias, version.name) or 0) < number]
    return older[-1] if older else None


def _names(versions: Sequence[Version]) -> str:
    return ", ".join(version.name for version in versions if version.ours)
