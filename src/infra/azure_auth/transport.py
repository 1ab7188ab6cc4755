"""The HTTP session of an identity: under the outbound policy, within one deadline, and noting how its last exchange ended."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests

from ..search_session import PolicyAdapter
from .exchange import Exchange, address

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport

    from ..network import NetworkPolicy

LOCAL_CONNECT_TIMEOUT_S = 1.0
"""To the metadata service, which answers at once where there is one, and elsewhere not at all."""
READ_TIMEOUT_S = 10.0
"""For one answer at the least: an authority gives a token in less than a second, so silence is worth another attempt."""
_AADSTS = re.compile(r"AADSTS(\d{4,9})")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,59}")
MAX_ANSWER = 100_000


class _Adapter(PolicyAdapter):
    """Sends within what is left of the fetch's deadline, and notes the outcome."""

    def __init__(self, policy: NetworkPolicy, connect_s: float, read_s: float, *, proxied: bool) -> None:
        super().__init__(policy, (connect_s, read_s), pool_size=1, proxied=proxied)
        self._connect_s = connect_s
        self._read_s = read_s
        self.exchange = Exchange()
        self.deadline = float("inf")

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        found = self.exchange = Exchange(hop=address(request.url or ""), proxy=self.proxy_of(request))
        left = max(0.001, self.deadline - time.monotonic())
        try:
            response = super().send(request, stream, (min(self._connect_s, left), min(self._read_s, left)), verify, cert, proxies)
            if not stream:
                _ = response.content  # a body that breaks off is a failure too
        except Exception as error:
            found.failure = error
            raise
        _note(found, response)
        return response

    def _seconds(self, timeout: Any) -> float:
        return max(0.001, self.deadline - time.monotonic())


def _note(found: Exchange, response: requests.Response) -> None:
    found.status = response.status_code
    found.retry_after = response.headers.get("retry-after")
    if response.status_code < 400 or len(response.content) > MAX_ANSWER:
        return
    try:
        body = json.loads(response.content)
    except ValueError:
        return
    if isinstance(body, dict):
        found.spoken = "error" in body
        word = str(body.get("error", ""))
        found.error = word if _WORD.fullmatch(word) else ""
        found.codes = tuple(dict.fromkeys(_AADSTS.findall(str(body.get("error_description", "")))))


class IdentitySession:
    """One session for the fetches of an identity, which come one at a time.

    Args:
        answer_s: what an attempt may take; never less than `READ_TIMEOUT_S`.
        local: for endpoints of the machine itself, which no proxy leads to.
    """

    def __init__(self, policy: NetworkPolicy, answer_s: float = READ_TIMEOUT_S, *, local: bool = False) -> None:
        connect_s = LOCAL_CONNECT_TIMEOUT_S if local else policy.limits.connect_s
        # A proxy would ask the metadata service of its own machine.
        self._adapter = _Adapter(policy, connect_s, max(READ_TIMEOUT_S, answer_s), proxied=not local)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("https://", self._adapter)
        self._session.mount("http://", self._adapter)

    @property
    def last(self) -> Exchange:
        """The last exchange since `begin`."""
        return self._adapter.exchange

    def begin(self, deadline: float) -> RequestsTransport:
        """Start afresh; the transport to hand to azure-identity.

        Args:
            deadline: by when it must be over, on `time.monotonic`.
        """
        from azure.core.pipeline.transport import RequestsTransport

        self._adapter.exchange = Exchange()
        self._adapter.deadline = deadline
        return RequestsTransport(session=self._session, session_owner=False, use_env_settings=False)

    def close(self) -> None:
        self._session.close()
