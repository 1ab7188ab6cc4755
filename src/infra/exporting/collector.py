"""The way to the collector: a session under the outbound policy, and what is known of whoever listens at its end.

An unreachable collector is said once, and so is that it is back. While it is away nothing is encoded and nothing is
sent but one attempt each `RESET_S`: what the process gives it in the meantime is counted and dropped, as OTel's SDK
does with a full queue. The exporters' own repeats are not used: they cannot be interrupted at the end of the process.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from ...errors import DeadlineExceededError, OverloadedError, RagError, ServiceUnavailableError, UnreachableError
from ...telemetry import metrics
from ...telemetry.logger import get_logger
from ..hops import error_of
from ..network.faults import fault_of
from ..resilience.breaker import Breaker, Rules
from ..search_session import PolicyAdapter
from .plan import headers_of, hop_of, refusal

if TYPE_CHECKING:
    from pydantic import SecretStr

    from ..network import NetworkPolicy

log = get_logger(__name__)

COMPRESSION = 1
"""512 spans take 0.3 ms and 19.3 KB; at level 9, the exporters' own, 2.8 ms and 18.8 KB."""
RESET_S = 10.0
REPEATS_S = (0.5, 2.0)
"""Pauses before an export that failed for a passing reason is sent again."""
TRANSIENT = (UnreachableError, OverloadedError, ServiceUnavailableError, DeadlineExceededError)
NOT_TAKEN = frozenset({404, 405, 415, 501})
"""Answers of a collector that does not take this kind of signal: Jaeger takes traces only."""


class NotTakenError(Exception):
    """The collector takes no signals of this kind."""

    def __init__(self, error: RagError) -> None:
        super().__init__(str(error))
        self.error = error


class Link:
    """What is known of the collector, shared by the exporters of all signals. Safe to use from several threads."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closing = threading.Event()
        """The process ends: nothing is repeated, and all must be over at `ends`."""
        self.ends = float("inf")
        self.lost = 0
        """Spans, points and records that were dropped because the collector was away; in all."""
        self._breaker = Breaker(Rules(failures=1, reset_s=RESET_S))
        self._lock = threading.Lock()
        self._said = False
        self._lost_before = 0
        metrics.watch("rag.telemetry.lost", self, lambda link: [(link.lost, {})])

    @property
    def away(self) -> bool:
        """The last export failed."""
        return self._said

    def left(self) -> float:
        """Seconds until the process no longer waits."""
        return self.ends - time.monotonic()

    def close(self, seconds: float) -> None:
        """From now on the process waits for so long."""
        self.ends = time.monotonic() + seconds
        self.closing.set()

    def attempt(self, send: Any, count: int) -> bool:
        """Send something, again after a pause where it failed for a passing reason; False where it was dropped.

        Args:
            send: raises RagError where it fails.
            count: of what would be lost.
        """
        permit = self._breaker.admit()
        if permit is None:
            self._lose(count)
            return False
        for pause in (*REPEATS_S, None):
            try:
                send()
            except NotTakenError:
                self._breaker.succeeded(permit)
                raise
            except RagError as error:
                if pause is None or permit.probe or not isinstance(error, TRANSIENT) or self.left() < pause or self.closing.wait(pause):
                    self._breaker.failed(permit, error.message)
                    self._lose(count)
                    self._say(error)
                    return False
            except BaseException:
                self._breaker.released(permit)
                raise
            else:
                self._breaker.succeeded(permit)
                self._say(None)
                return True
        raise AssertionError("the last pause is None")  # pragma: no cover - the loop ends by returning

    def _lose(self, count: int) -> None:
        with self._lock:
            self.lost += count

    def _say(self, error: RagError | None) -> None:
        """Once when it goes away, once when it is back."""
        with self._lock:
            if (error is not None) == self._said:
                return
            self._said = error is not None
            lost, self._lost_before = self.lost - self._lost_before, self.lost
        if error is None:
            log.info("the collector takes telemetry again", collector=self.address, dropped=lost)
        else:
            log.warning("telemetry is not exported", detail=str(error), collector=self.address, setting=error.setting)


class _Adapter(PolicyAdapter):
    """Held to what the end of the process leaves."""

    link: Link

    def _phases(self, timeout: Any) -> Any:
        left = max(0.001, self.link.left())
        return tuple(min(seconds, left) for seconds in self._timeouts)

    def _seconds(self, timeout: Any) -> float:
        return max(0.001, min(self._total_s, self.link.left()))


class CollectorSession(requests.Session):
    """A `requests` session for the OTLP exporters, which sends what they encoded and nothing else of theirs.

    The exporters read certificates and headers from variables such as ``OTEL_EXPORTER_OTLP_HEADERS`` and lay them into
    the session and into each request: with another program's header, telemetry would arrive at another program's account.

    Raises (of `request`):
        RagError: with hop, proxy, setting and hint, whatever failed.
        NotTakenError: the collector takes no signals of this kind.
    """

    def __init__(self, link: Link, network: NetworkPolicy, timeout_s: float, headers: SecretStr | None) -> None:
        super().__init__()
        self.trust_env = False
        self._link = link
        self._secret = headers
        self._adapter: _Adapter | None = None
        self._network = network
        self._timeout_s = timeout_s
        self.failure: RagError | NotTakenError | None = None
        """What the last request failed with: the exporters catch it, and say only that something did."""

    def request(self, method: str | bytes, url: str | bytes, *args: Any, data: Any = None, **kwargs: Any) -> requests.Response:
        try:
            return self._exchanged(method, url if isinstance(url, str) else url.decode(), data)
        except (RagError, NotTakenError) as error:
            self.failure = error
            raise

    def _exchanged(self, method: str | bytes, address: str, data: bytes) -> requests.Response:
        self._mounted()
        self.verify, self.cert = True, None
        way = hop_of(address).through(self._network.proxy_for(urlsplit(address).hostname or "", urlsplit(address).port, urlsplit(address).scheme))
        if self._link.left() <= 0:
            raise DeadlineExceededError("The process ends; no time is left to export.", hop=way.address, setting="telemetry.flush_timeout_s")
        try:
            answer = self._sent(method, address, data)
        except (requests.RequestException, OSError) as error:
            raise error_of(fault_of(error), way) from None
        if answer.status_code >= 300:
            found = refusal(answer.status_code, way, urlsplit(address).port)
            raise NotTakenError(found) if answer.status_code in NOT_TAKEN else found
        return answer

    def _sent(self, method: str | bytes, url: str, data: bytes) -> requests.Response:
        options: dict[str, Any] = {"data": gzip.compress(data, COMPRESSION), "headers": self._headers(), "allow_redirects": False}
        try:
            return super().request(method, url, **options)
        except requests.ConnectionError as error:
            # A connection kept open, which the other side has closed meanwhile, tells only when it is used.
            if isinstance(error, requests.Timeout | requests.exceptions.ProxyError | requests.exceptions.SSLError) or fault_of(error).kind != "reset":
                raise
            return super().request(method, url, **options)

    def _headers(self) -> Mapping[str, str]:
        own = {"content-type": "application/x-protobuf", "content-encoding": "gzip", "user-agent": "founders-rag"}
        return own if self._secret is None else {**headers_of(self._secret.get_secret_value()), **own}

    def _mounted(self) -> None:
        """The adapter reads the policy's files: with the first export, on the exporter's thread."""
        if self._adapter is None:
            limits = self._network.limits
            adapter = _Adapter(self._network, (min(limits.connect_s, self._timeout_s), self._timeout_s), total_s=self._timeout_s)
            adapter.link = self._link
            self.mount("https://", adapter)
            self.mount("http://", adapter)
            self._adapter = adapter
