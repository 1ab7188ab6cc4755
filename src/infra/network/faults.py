"""What a failed exchange failed with: one word for the exceptions of every library that sends for us. Pure.

Known are httpx2 (and openai on it), aiohttp (and opensearch-py on it), requests and urllib3, botocore, azure-core, `ssl` and
`socket`. Types are known by their names, so that none of the libraries is imported here. Of their texts only OpenSSL's are
repeated: theirs may hold addresses with credentials.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

FaultKind = Literal[
    "name",  # it cannot be resolved
    "refused",
    "no-route",
    "connect-timeout",
    "read-timeout",
    "reset",  # closed before an answer, or in the middle without saying so
    "truncated",  # an answer that began and did not end
    "not-http",
    "pool-timeout",  # none of our own connections came free
    "proxy-auth",  # 407
    "proxy-forbidden",  # 403
    "proxy-failed",  # any other answer than a way there
    "tls-authority",
    "tls-expired",
    "tls-not-yet-valid",
    "tls-name",
    "tls-version",
    "tls-client-certificate",  # ours is demanded, or refused
    "tls-none",  # the other side does not speak TLS
    "tls-other",
    "unknown",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """How an exchange failed.

    Args:
        detail: OpenSSL's or our own words for it; may be empty.
        at_proxy: it failed with the proxy, before anything reached the host behind it.
        status: of the proxy's answer.
    """

    kind: FaultKind
    detail: str = ""
    at_proxy: bool = False
    status: int | None = None

    @property
    def tls(self) -> bool:
        return self.kind.startswith("tls-")


_STATUS = re.compile(r"(?:^|Tunnel connection failed: )([1-5]\d\d)\b")
_OURS = re.compile(r"no connection within [\d.e+-]+ s")
_PROXY = frozenset({"ProxyError", "ClientProxyConnectionError", "ClientHttpProxyError", "ProxyConnectionError"})
_CONNECT_TIMEOUT = frozenset({"ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError"})
_READ_TIMEOUT = frozenset({"ReadTimeout", "ReadTimeoutError", "WriteTimeout", "ServerTimeoutError", "APITimeoutError", "TimeoutError"})
_TRUNCATED = frozenset({"ClientPayloadError", "IncompleteRead", "IncompleteReadError", "ChunkedEncodingError", "InvalidChunkLength", "ResponseStreamingError"})
_RESET = frozenset(
    {
        *("ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError", "ServerDisconnectedError", "SSLEOFError", "SSLZeroReturnError"),
        *("EndOfStream", "ClosedResourceError", "BrokenResourceError", "ReadError", "WriteError", "ConnectionClosedError"),
    }
)
_WAITING = frozenset({"SSLWantReadError", "SSLWantWriteError"})
"""No failure: what a read that was then cut short was waiting for."""
_NOT_HTTP = frozenset({"HttpProcessingError", "RemoteProtocolError", "BadStatusLine", "InvalidHeader", "ClientResponseError", "ProtocolError", "ResponseError"})
_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_VERIFY: dict[int, FaultKind] = {9: "tls-not-yet-valid", 10: "tls-expired", 62: "tls-name", 64: "tls-name"}
"""X509_V_ERR_…: CERT_NOT_YET_VALID, CERT_HAS_EXPIRED, HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH; all others are of the chain."""
_REASONS: tuple[tuple[FaultKind, re.Pattern[str]], ...] = (
    ("tls-version", re.compile("UNSUPPORTED_PROTOCOL|ALERT_PROTOCOL_VERSION|NO_PROTOCOLS_AVAILABLE|VERSION_TOO_LOW|INAPPROPRIATE_FALLBACK")),
    ("tls-none", re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE")),
    # A server of TLS 1.2 that wants a certificate and gets none says HANDSHAKE_FAILURE, one that does not know ours UNKNOWN_CA.
    ("tls-client-certificate", re.compile("ALERT_.*CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_HANDSHAKE_FAILURE|ALERT_ACCESS_DENIED|ALERT_DECRYPT_ERROR")),
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it came from, the outermost first; also what libraries keep in attributes of their own."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        context = None if found.__suppress_context__ else found.__context__
        held = [getattr(found, name, None) for name in ("reason", "os_error", "certificate_error", "inner_exception")]
        kept = getattr(found, "kwargs", None)
        more = kept.get("error") if isinstance(kept, dict) else None
        group = found.exceptions if isinstance(found, BaseExceptionGroup) else ()
        waiting += [one for one in (found.__cause__, context, *held, more, *group, *found.args) if isinstance(one, BaseException)]


def fault_of(error: BaseException) -> Fault:
    """What an exchange failed with."""
    found = [(cause, {kind.__name__ for kind in type(cause).__mro__}) for cause in causes(error)]
    at_proxy = any(names & _PROXY for _, names in found)
    for rule in _RULES:
        for cause, names in found:
            fault = rule(cause, names)
            if fault is not None:
                return Fault(fault.kind, fault.detail, at_proxy or fault.at_proxy, fault.status)
    return Fault("proxy-failed", at_proxy=True) if at_proxy else Fault("unknown", type(error).__name__)


def _tls(cause: BaseException, names: set[str]) -> Fault | None:
    if isinstance(cause, ssl.SSLCertVerificationError) and "ClientError" not in names:  # aiohttp's own kinds lack what OpenSSL said
        return Fault(_VERIFY.get(cause.verify_code, "tls-authority"), cause.verify_message.rstrip("."))
    if isinstance(cause, ssl.SSLError) and not names & (_RESET | _WAITING | {"ClientError"}):
        reason = str(cause.reason or "")
        kind: FaultKind = next((kind for kind, pattern in _REASONS if pattern.search(reason)), "tls-other")
        return None if "EOF" in reason else Fault(kind, reason or type(cause).__name__)
    return Fault("tls-name", "the certificate is for another name") if "CertificateError" in names and isinstance(cause, ValueError) else None


def _proxy(cause: BaseException, names: set[str]) -> Fault | None:
    status = getattr(cause, "status", None) if "ClientHttpProxyError" in names else None
    if status is None and ("ProxyError" in names or "Tunnel connection failed" in str(cause)):
        said = _STATUS.search(str(cause))
        status = int(said[1]) if said else None
    if not isinstance(status, int):
        return None
    kinds: dict[int, FaultKind] = {407: "proxy-auth", 403: "proxy-forbidden"}
    return Fault(kinds.get(status, "proxy-failed"), at_proxy=True, status=status)


def _name(cause: BaseException, names: set[str]) -> Fault | None:
    unknown = isinstance(cause, socket.gaierror) or names & {"NameResolutionError", "ClientConnectorDNSError"}
    return Fault("name", "its name is unknown") if unknown else None


def _no_connection(cause: BaseException, names: set[str]) -> Fault | None:
    number = cause.errno if isinstance(cause, OSError) else None
    if isinstance(cause, ConnectionRefusedError) or number == errno.ECONNREFUSED:
        return Fault("refused", "connection refused")
    if number in _NO_ROUTE:
        return Fault("no-route", "no route to it")
    if isinstance(cause, TimeoutError) and "handshake operation timed out" in str(cause):  # urllib3 calls it a time-out of reading
        return Fault("connect-timeout", "no connection in time")
    # urllib3's NewConnectionError, which is no time-out, derives from its ConnectTimeoutError.
    if number == errno.ETIMEDOUT or (names & _CONNECT_TIMEOUT and "NewConnectionError" not in names):
        ours = _OURS.search(str(cause))
        return Fault("connect-timeout", ours[0] if ours else "no connection in time")
    return None


def _no_place(_cause: BaseException, names: set[str]) -> Fault | None:
    return Fault("pool-timeout") if "PoolTimeout" in names else None


def _late(_cause: BaseException, names: set[str]) -> Fault | None:
    return Fault("read-timeout", "no answer in time") if names & _READ_TIMEOUT and "NewConnectionError" not in names else None


def _broken(cause: BaseException, names: set[str]) -> Fault | None:
    text = str(cause) if names & {"RemoteProtocolError", "ProtocolError"} else ""
    if names & _TRUNCATED or "complete message body" in text or "ended prematurely" in text:
        return Fault("truncated")
    return Fault("reset") if "Server disconnected" in text else None


def _reset(cause: BaseException, names: set[str]) -> Fault | None:
    return Fault("reset") if names & _RESET or (isinstance(cause, ssl.SSLError) and "EOF" in str(cause.reason)) else None


def _not_http(_cause: BaseException, names: set[str]) -> Fault | None:
    return Fault("not-http") if names & _NOT_HTTP else None


_RULES: tuple[Callable[[BaseException, set[str]], Fault | None], ...] = (_tls, _proxy, _name, _no_connection, _no_place, _late, _broken, _reset, _not_http)
"""The one that tells most comes first: each goes through all causes."""
