"""How long writers wait for a cluster that takes nothing for the moment: it has no room, or a node restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from .....errors import PartialResultError, RagError, ServiceUnavailableError, TlsError, WriteBlockedError
from .....telemetry.logger import get_logger
from ....resilience.deadline import check
from ....resilience.retry import RetryPolicy

if TYPE_CHECKING:
    from ....config import SearchCfg

log = get_logger(__name__)

T = TypeVar("T")

LONGEST_S: Final = 60.0
"""A node restarts in 10 to 40 s, an open breaker lets one request try every 10 s."""
_HOPELESS: Final = (WriteBlockedError, TlsError, PartialResultError)
"""Kinds of unavailability that no repeat ends."""


class Patience:
    """The repeats of one request of a writer: at least `[search] max_retries`, and more for up to a minute from its first failure.

    An open breaker counts as a failure like any other; asking it costs the cluster nothing.
    """

    def __init__(self, cfg: SearchCfg) -> None:
        self._most = cfg.max_retries
        self._longest_s = min(LONGEST_S, cfg.bulk_timeout_s)
        self.renew()

    def renew(self) -> None:
        """The server has taken something: what comes next is another failure."""
        # Without the budget of searches: a writer has a few requests at a time, each of them waits longer and longer.
        self._retries = RetryPolicy(self._most, patience_s=self._longest_s).start()
        self._told = False

    @property
    def made(self) -> int:
        return self._retries.made

    async def wait(self, error: RagError) -> None:
        """Return when it is time for the next repeat.

        Raises:
            RagError: ``error``, where none is left.
            DeadlineExceededError: the deadline of the context has passed.
        """
        check("waiting for OpenSearch to take what is written")
        if not is_passing(error) or not await self._retries.again():
            raise error
        if self.made > self._most and not self._told:
            self._told = True
            log.warning("OpenSearch takes nothing for the moment; trying again", for_s=self._longest_s, reason=error.message)


class Waiting:
    """Requests of those who write: waited for while the cluster is away, if it answered before. One that never did may not be there at all."""

    def __init__(self, cfg: SearchCfg) -> None:
        self._cfg = cfg
        self._heard = False

    async def answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """
        Args:
            ask: makes the request anew; it changes nothing, or the same again.

        Raises:
            RagError: as ``ask``; an outage only once it lasted for longer than `Patience` has.
        """
        patience: Patience | None = None
        while True:
            try:
                answer = await ask()
            except ServiceUnavailableError as error:
                if not self._heard:
                    raise
                patience = patience or Patience(self._cfg)
                await patience.wait(error)
            else:
                self._heard = True
                return answer

    def lost(self) -> None:
        """The cluster was waited for in vain."""
        self._heard = False


def is_passing(error: RagError) -> bool:
    """A repeat may end it."""
    return isinstance(error, ServiceUnavailableError) and not isinstance(error, _HOPELESS)
