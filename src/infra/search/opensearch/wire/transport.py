"""One request to OpenSearch, and all that may go wrong on the way: hosts, retries, breakers, deadlines, errors.

It stands on opensearch-py's connection class (`connection.py`) and not on its `AsyncTransport`, which repeats 502, 503, 504 and
dropped connections at once and without end to an outage's growth, a `_bulk` too; never repeats a 429; leaves out `Retry-After`;
knows no deadline; takes a failed host out for a minute although it is the only one; and decodes each answer by way of text.

What is repeated: requests with ``retry=True`` (searches and whatever else changes nothing, or changes it to the same), after a
broken connection, 502, 503, 504 and a 429 that can heal; with full jitter, within `[search] max_retries`, the request's own time
and the client's retry budget. What never reached a server goes to the next host at once, a write too, whatever `max_retries` and the
budget say; and what a kept connection could not carry because it had been closed goes over a new one. A request larger than the
cluster takes, a write block, and every other 4xx fail at once.
A search that times out is cancelled on the server: its connection is closed, and OpenSearch cancels what a closed channel asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .....errors import DeadlineExceededError, OverloadedError, RagError, ResourceClosedError, ServiceUnavailableError
from .....telemetry.calls import search_call
from .....telemetry.otel import with_outgoing
from ....resilience.breaker import Breaker, Breakers, Permit, Rules, watch_breakers
from ....resilience.deadline import current, remaining
from ....resilience.retry import Retries, RetryBudget, RetryPolicy
from .answers import understood
from .credentials import LiveCredential, live_credential, scrubbed
from .failures import Failure, classify, credential_setting
from .hosts import Host, parse_hosts

if TYPE_CHECKING:
    from ....aws.signing import Signer
    from ....config import SearchCfg
    from ....network import NetworkPolicy
    from .connection import Answer, HostConnection
    from .sessions import Sessions

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_SILENCE_S = 1.0
"""No answer for so long, or for half of `[search] timeout_s`, is a failure of the host, whoever ends the wait; for less, a part of one."""
_CLOCK_S = 0.002
"""A timer may ring this much before its time."""
_CLOSED = "The OpenSearch client is closed."


@dataclass(slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, str] | None
    data: bytes | None
    content_type: str
    retry: bool
    index: str
    seconds: float
    """How long it may take, repeats included."""
    setting: str
    """The key that says so; empty where a deadline of the caller's cut it short."""
    ends: float
    """On the event loop's clock."""
    asked_at: float | None = None
    """When its present attempt got a connection, on that clock."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    host: Host
    name: str
    breaker: Breaker


class Transport:
    """Requests to the hosts of `[search] host`. Connects nothing before the first; usable from several event loops.

    Args:
        signer: signs each request (AWS SigV4); instead of user, password and token, which are sent as they are at that time.

    Raises:
        ConfigurationError: an address cannot be used.
    """

    def __init__(self, cfg: SearchCfg, network: NetworkPolicy, *, signer: Signer | None = None) -> None:
        self._cfg = cfg
        self._network = network
        self._signer = signer or live_credential(cfg)
        self._refusal = 401 if isinstance(self._signer, LiveCredential) else 403
        self._credential = credential_setting(cfg)
        self.breakers = Breakers(Rules(cfg.breaker_failures, cfg.breaker_reset_s))
        watch_breakers("search", "", self.breakers)
        self._nodes = tuple(_Node(host, str(host), self.breakers.of(str(host))) for host in parse_hosts(cfg.host))
        self.budget = RetryBudget()
        self.retries = RetryPolicy(cfg.max_retries)
        self._sessions: Sessions | None = None
        self._serializer: Any = None
        self._closed = False

    @property
    def host(self) -> str:
        """The first address, for errors of layers above; no credentials."""
        return self._nodes[0].name

    async def perform(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        timeout_s: float | None = None,
        retry: bool = True,
        index: str = "",
    ) -> Any:
        """The decoded body of a good answer.

        Args:
            path: from the root of the cluster, ids in it percent-encoded.
            body: what JSON can hold, or bytes, which are sent as they are (NDJSON).
            timeout_s: for the whole, repeats included; by default `[search] timeout_s`. A deadline of the context may shorten it.
            retry: a repeat changes nothing.
            index: index or alias in question, for errors.

        Raises:
            RagError: kinds of it, as `failures` and `explain` tell them, with host and index.
        """
        node, status, answer = await self._send(method, path, params, body, timeout_s, retry, index)
        if status >= 300:
            error = classify(status, answer, node.name, index).error
            del answer  # some show the local variables of an error's frames, and a gateway may repeat anything
            raise error
        return answer

    async def perform_raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        timeout_s: float | None = None,
        retry: bool = True,
        index: str = "",
    ) -> tuple[int, Any]:
        """Status and decoded body of any answer below 500 but 401, 403 and 429; everything else raises."""
        _, status, answer = await self._send(method, path, params, body, timeout_s, retry, index)
        return status, answer

    async def aclose(self) -> None:
        """Close the connections. Those of other event loops close there, as soon as those turn."""
        self._closed = True
        if self._sessions is not None:
            await self._sessions.aclose()

    @search_call
    async def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, body: object, timeout_s: float | None, retry: bool, index: str
    ) -> tuple[_Node, int, Any]:
        if self._closed:
            raise ResourceClosedError(_CLOSED)
        if self._sessions is None:
            await self._open()
        data, content_type = self._encoded(body)
        seconds, setting = self._allowance(timeout_s)
        request = _Request(method, path, params, data, content_type, retry, index, seconds, setting, asyncio.get_running_loop().time() + seconds)
        self.budget.deposit()
        route = self._route(())
        if route is None:
            raise self._all_open(index)
        outcome = await self._attempt(*route, request)
        if isinstance(outcome, Failure):
            return await self._again(route[0], outcome, request)
        return route[0], *outcome

    async def _again(self, node: _Node, failure: Failure, request: _Request) -> tuple[_Node, int, Any]:
        """Further attempts after a failed one: the next host at once, all of them anew after a wait."""
        retries = self.retries.start(self.budget)
        tried = [node]
        while True:
            # Nothing reached a server: to ask the others is no repeat.
            route = self._route(tried) if failure.unsent else None
            route = route or await self._repeat(tried, failure, request, retries)
            if route is None:
                raise failure.error
            outcome = await self._attempt(*route, request)
            if not isinstance(outcome, Failure):
                return route[0], *outcome
            failure = outcome
            tried.append(route[0])

    async def _repeat(self, tried: list[_Node], failure: Failure, request: _Request, retries: Retries) -> tuple[_Node, Permit] | None:
        """Where a repeat may go to; None where there is none."""
        if not failure.transient or not (request.retry or failure.unsent) or not retries.take():
            return None
        route = self._route(tried) if failure.counts else None
        if route is not None:
            return route
        tried.clear()
        left = request.ends - asyncio.get_running_loop().time()
        return self._route(()) if await retries.pause(failure.retry_after_s, within_s=left) else None

    def _route(self, tried: tuple[()] | list[_Node]) -> tuple[_Node, Permit] | None:
        """The first host, in their order, that was not tried yet and whose breaker lets a request through."""
        for node in self._nodes:
            if node not in tried and (permit := node.breaker.admit()) is not None:
                return node, permit
        return None

    async def _attempt(self, node: _Node, permit: Permit, request: _Request) -> tuple[int, Any] | Failure:
        """One request to one host; tells its breaker how it went."""
        request.asked_at = None
        try:
            outcome = await self._exchange(node, request)
        except asyncio.CancelledError:
            self._given_up(node, permit, request)
            raise
        except BaseException:  # a fault of ours: no word on the host
            node.breaker.released(permit)
            raise
        if not isinstance(outcome, Failure):
            node.breaker.succeeded(permit)
        elif outcome.counts:
            node.breaker.failed(permit, f"{outcome.error.message} {outcome.error.hint}".rstrip(), outcome.silence)
        elif outcome.unknown or outcome.unsent:
            node.breaker.released(permit)
        else:
            node.breaker.succeeded(permit)
        return outcome

    def _given_up(self, node: _Node, permit: Permit, request: _Request) -> None:
        """A caller who goes away says nothing of the host, unless it was silent for long; one whose time is over says that it was silent."""
        silent_s = 0.0 if request.asked_at is None else asyncio.get_running_loop().time() - request.asked_at
        silence, left = self._silence(silent_s), remaining()
        if silence < 1 and (request.asked_at is None or left is None or left > _CLOCK_S):
            node.breaker.released(permit)
        else:
            node.breaker.failed(permit, f"OpenSearch did not answer within {silent_s:.3g} s.", silence)

    def _silence(self, silent_s: float) -> float:
        """How much of a failure it is that no answer came for so long."""
        return min(1.0, silent_s / min(_SILENCE_S, self._cfg.timeout_s / 2))

    async def _exchange(self, node: _Node, request: _Request) -> tuple[int, Any] | Failure:
        if self._closed or self._sessions is None:
            raise ResourceClosedError(_CLOSED)
        connection = self._sessions.connection(node.host)
        queued_at = connection.loop.time() if connection.places.locked() else None
        placed_at = request.ends
        limit = asyncio.timeout_at(request.ends)
        try:
            async with limit, connection.places:
                placed_at = request.asked_at = connection.loop.time()
                target = connection.target(request.path, request.params)
                answer = await self._ask(connection, node, request, target)
        except TimeoutError as error:
            if limit.expired():
                return self._late(node, request, 0.0 if queued_at is None else placed_at - queued_at, max(0.0, request.ends - placed_at))
            return self._explained(error, node)
        except self._sessions.failures as error:
            return self._explained(error, node)
        found = understood(
            answer, self._serializer.loads, method=request.method, path=request.path, host=node.name, index=request.index, credential=self._credential
        )
        if isinstance(found, Failure) and not found.error.proxy:
            found.error.proxy = connection.proxy
        return found

    def _explained(self, error: Exception, node: _Node) -> Failure:
        if self._closed:  # by us, in the middle of it
            raise ResourceClosedError(_CLOSED) from error
        assert self._sessions is not None
        return self._sessions.explain(error, node.name)

    async def _ask(self, connection: HostConnection, node: _Node, request: _Request, target: str) -> Answer:
        """One exchange; signed anew, once more, where the server refused the credential and there is another now."""
        headers = None if self._signer is None else await self._signed(node, request, target)
        answer = await self._exchanged(connection, request, target, headers)
        if headers is not None and self._signer is not None and answer.status == self._refusal and await self._signer.renewed(headers, answer.body):
            headers = await self._signed(node, request, target)
            answer = await self._exchanged(connection, request, target, headers)
        return answer if answer.status < 400 else answer._replace(body=scrubbed(answer.body, headers or connection.shown))

    @staticmethod
    async def _exchanged(connection: HostConnection, request: _Request, target: str, headers: Mapping[str, str] | None) -> Answer:
        return await connection.exchange(
            request.method, target, request.data, content_type=request.content_type, headers=with_outgoing(headers), retry=request.retry
        )

    async def _signed(self, node: _Node, request: _Request, target: str) -> Mapping[str, str]:
        assert self._signer is not None
        headers = {"host": node.host.authority, **({"content-type": request.content_type} if request.data is not None else {})}
        url = f"{node.host.scheme}://{node.host.authority}{node.host.prefix}{target}"
        signed = await self._signer.headers(request.method, url, headers, request.data or b"")
        return {name: value for name, value in signed.items() if name.lower() not in ("host", "content-type", "content-length")}

    async def _open(self) -> None:
        # Importing aiohttp and opensearch-py takes 200 ms and the TLS context reads files: not on the loop.
        def make() -> tuple[Sessions, Any]:
            from . import serializer
            from .sessions import Sessions

            return Sessions(self._cfg, self._network, signed=self._signer is not None), serializer

        made, self._serializer = await asyncio.to_thread(make)
        if self._sessions is None:
            self._sessions = made

    def _encoded(self, body: object) -> tuple[bytes | None, str]:
        if isinstance(body, bytes):
            return body, _NDJSON
        return (None if body is None else self._serializer.dumps(body)), _JSON

    def _allowance(self, timeout_s: float | None) -> tuple[float, str]:
        """Seconds for a request and the setting they come from."""
        cfg = self._cfg
        setting = "search.timeout_s" if timeout_s in (None, cfg.timeout_s) else "search.bulk_timeout_s" if timeout_s == cfg.bulk_timeout_s else "timeout_s"
        seconds = cfg.timeout_s if timeout_s is None else timeout_s
        holds = current()
        if holds is None:
            return seconds, setting
        left = holds.remaining()
        if left <= 0:
            raise holds.error("waiting to ask OpenSearch")
        return (seconds, setting) if seconds <= left else (left, "")

    def _late(self, node: _Node, request: _Request, waited_s: float, asked_s: float) -> Failure:
        """The failure of a request whose time is over: it waited for a connection, and then had one."""
        if asked_s < waited_s:
            error: RagError = OverloadedError(
                f"None of the {self._cfg.pool_size} connections to OpenSearch came free in time ({request.seconds:.3g} s).",
                hop=node.name,
                setting="search.pool_size",
                hint="Raise it, ask for less at once, or look at the cluster's load.",
            )
            return Failure(error, unknown=True)
        about = f" for the index {request.index!r}" if request.index else ""
        setting = request.setting if "." in request.setting else ""
        hint = "Raise it, or look at the cluster's load." if setting else "Allow more time, or look at the cluster's load."
        error = DeadlineExceededError(f"OpenSearch did not answer within {request.seconds:.3g} s{about}.", hop=node.name, setting=setting, hint=hint)
        return Failure(error, counts=True, silence=self._silence(asked_s))

    def _all_open(self, index: str) -> ServiceUnavailableError:
        node = min(self._nodes, key=lambda one: one.breaker.retry_in_s)
        wait = node.breaker.retry_in_s
        about = f" for the index {index!r}" if index else ""
        when = f"in {wait:.1f} s" if wait > 0 else "once the request that tries it now has ended"
        return ServiceUnavailableError(
            f"OpenSearch failed repeatedly and is left alone for a while{about}. The last failure: {node.breaker.reason}",
            hop=", ".join(one.name for one in self._nodes),
            setting="search.breaker_reset_s",
            hint=f"It is tried again {when}; what failed last has to be mended.",
        )
