"""Searches on their way to the alias: alone, or many in one multi-search; whole answers only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from .....errors import ServicePermissionError
from .....telemetry.logger import get_logger
from ..wire.failures import Failure, check_whole, classify, item_failure
from ..wire.refusals import shortened
from ..wire.serializer import dumps
from .plans import Refused, Search
from .repeats import until_whole

if TYPE_CHECKING:
    from ....config import SearchCfg
    from ..wire.transport import Transport

log = get_logger(__name__)

_UNREAD: Final = {"filter_path": "-responses.hits.hits._index,-responses.hits.hits._score"}
"""Half of the bytes of a multi-search: scores and keys are read from ``sort``."""
_AT_ONCE: Final = 64
"""Searches of one multi-search; more go one multi-search after another."""


class Sender:
    """
    Args:
        transport: how requests travel.
        cfg: `index_alias`, `timeout_s`, `allow_partial`.
    """

    def __init__(self, transport: Transport, cfg: SearchCfg) -> None:
        self._transport = transport
        self._alias = cfg.index_alias
        self._path = f"/{quote(cfg.index_alias, safe='')}"
        self._timeout_s = cfg.timeout_s
        self._allow_partial = cfg.allow_partial
        self._multi = True

    async def send(self, searches: Sequence[Search], preferences: Sequence[str], partial: list[set[str]]) -> list[Any]:
        """Answers in order; `Refused` for refusable searches that the server answered with 400.

        Args:
            preferences: names the copy of each shard that a search asks, one for each search.
            partial: takes up, one set for each search, why its answer is only a part (`[search] allow_partial`).

        Raises:
            RagError: the first failure.
        """
        if len(searches) == 1:
            answers = [await self._alone(searches[0], preferences[0])]
        else:
            answers = await self._several(searches, preferences)
        for answer, reasons in zip(answers, partial, strict=True):
            if not isinstance(answer, Refused):
                reasons.update(check_whole(answer, self._allow_partial, host=self._transport.host, index=self._alias))
        return answers

    async def _several(self, searches: Sequence[Search], preferences: Sequence[str]) -> list[Any]:
        # What a server cannot parse fails a multi-search as a whole.
        together = [at for at, search in enumerate(searches) if not (search.leg_scores or search.refusable)] if self._multi else []
        if len(together) == 1:
            together = []
        inside = set(together)
        alone = [self._alone(search, preferences[at]) for at, search in enumerate(searches) if at not in inside]
        if alone and together:
            singles, multiple = await asyncio.gather(_all(alone), self._many(searches, preferences, together))
        else:
            singles, multiple = await _all(alone), await self._many(searches, preferences, together)
        rest = iter(singles)
        return [multiple[at] if at in inside else next(rest) for at in range(len(searches))]

    async def _alone(self, search: Search, preference: str) -> Any:
        params = {"preference": preference} if preference else {}
        if search.leg_scores:
            params["include_named_queries_score"] = "true"
        status, answer = await self._transport.perform_raw("POST", f"{self._path}/_search", params=params, body=search.body, index=self._alias)
        if status < 300:
            return answer
        if search.refusable and status == 400:
            return Refused(_reason(answer))
        raise classify(status, answer, self._transport.host, self._alias).error

    async def _many(self, searches: Sequence[Search], preferences: Sequence[str], places: Sequence[int]) -> dict[int, Any]:
        answers: dict[int, Any] = {}
        for first in range(0, len(places), _AT_ONCE):
            batch = places[first : first + _AT_ONCE]
            answers.update(zip(batch, await self._multi_search([searches[at] for at in batch], [preferences[at] for at in batch]), strict=True))
        return answers

    async def _multi_search(self, searches: Sequence[Search], preferences: Sequence[str]) -> list[Any]:
        """One multi-search; items that were refused for a moment are sent again."""
        answers: list[Any] = [None] * len(searches)

        async def ask(places: Sequence[int]) -> list[tuple[int, Failure]]:
            lines = [line for at in places for line in ({"preference": preferences[at]} if preferences[at] else {}, searches[at].body)]
            body = b"".join(dumps(line) + b"\n" for line in lines)
            answer = await self._transport.perform("POST", f"{self._path}/_msearch", params=_UNREAD, body=body, index=self._alias)
            failed = []
            for at, item in zip(places, answer["responses"], strict=True):
                failure = item_failure(item, self._transport.host, self._alias)
                if failure is None:
                    answers[at] = item
                else:
                    failed.append((at, failure))
            return failed

        try:
            await until_whole(self._transport, range(len(searches)), ask, self._timeout_s)
        except ServicePermissionError:
            if any(answers):
                raise
            # Multi-search is a permission of the cluster, not of the index: a role may lack it.
            log.info("multi-search is not permitted: searches are sent one by one", index=self._alias)
            self._multi = False
            return await _all([self._alone(search, preference) for search, preference in zip(searches, preferences, strict=True)])
        return answers


def _reason(answer: Any) -> str:
    """What a 400 says, in short."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(error, Mapping):
        return shortened(str(error or answer))
    causes = error.get("root_cause") or [error]
    return shortened(str(causes[0].get("reason") or causes[0].get("type"))).rstrip(".")


async def _all(work: Sequence[Any]) -> list[Any]:
    """Results in order; the first error cancels the rest."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
