"""Faults of every library in one vocabulary, and the error for each: hop, setting, and nothing that a library wrote."""

from __future__ import annotations

import asyncio
import errno
import http.client
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import aiohttp
import botocore.exceptions
import httpx2
import openai
import pytest
import requests
import urllib3.exceptions as u3
from aiohttp.client_reqrep import ConnectionKey
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from src.errors import ConfigurationError, OverloadedError, ServiceUnavailableError, TlsError
from src.infra.hops import Hop, error_of
from src.infra.network.faults import Fault, FaultKind, causes, fault_of

SECRET = "http://user:hunter2@proxy"
REQUEST = httpx2.Request("POST", "https://host/")
KEY = ConnectionKey("host", 443, True, True, None, None, None)  # type: ignore[call-arg, unused-ignore] # its fields differ between releases


def caused(error: BaseException, *by: BaseException) -> Any:
    """An error with causes, the nearest first."""
    for outer, inner in zip((error, *by), by, strict=False):
        outer.__cause__ = inner
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {SECRET}")
    error.reason = reason
    return error


def untrusted(code: int, message: str = "said OpenSSL") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
UNKNOWN = socket.gaierror(-2, "Name or service not known")
TUNNEL = OSError("Tunnel connection failed: 407 Proxy Authentication Required")
POOL: Any = None

CASES: list[tuple[str, BaseException, FaultKind, bool]] = [
    (
        "openai refused",
        caused(openai.APIConnectionError(request=REQUEST), httpx2.ConnectError("all failed"), ExceptionGroup("all", [REFUSED])),
        "refused",
        False,
    ),
    ("openai name", caused(openai.APIConnectionError(request=REQUEST), httpx2.ConnectError("x"), UNKNOWN), "name", False),
    ("openai connect", caused(openai.APITimeoutError(request=REQUEST), httpx2.ConnectTimeout("x")), "connect-timeout", False),
    ("openai read", caused(openai.APITimeoutError(request=REQUEST), httpx2.ReadTimeout("x")), "read-timeout", False),
    ("openai pool", caused(openai.APITimeoutError(request=REQUEST), httpx2.PoolTimeout("x")), "pool-timeout", False),
    ("openai 407", caused(openai.APIConnectionError(request=REQUEST), httpx2.ProxyError("407 Proxy Authentication Required")), "proxy-auth", True),
    ("openai 403", httpx2.ProxyError("403 Forbidden"), "proxy-forbidden", True),
    ("openai 502", httpx2.ProxyError("502 Bad Gateway"), "proxy-failed", True),
    ("openai proxy down", caused(httpx2.ProxyError("No connection"), httpx2.ConnectError("x"), REFUSED), "refused", True),
    ("openai authority", caused(httpx2.ConnectError("x"), untrusted(20)), "tls-authority", False),
    ("openai cut", httpx2.RemoteProtocolError("peer closed connection without sending complete message body (incomplete chunked read)"), "truncated", False),
    ("openai closed", httpx2.RemoteProtocolError("Server disconnected without sending a response."), "reset", False),
    ("openai garbage", httpx2.RemoteProtocolError("illegal status line"), "not-http", False),
    ("openai reset", caused(httpx2.ReadError(""), ConnectionResetError(errno.ECONNRESET, "reset")), "reset", False),
    ("openai alert late", caused(httpx2.ReadError(""), tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), "tls-client-certificate", False),
    ("aiohttp refused", aiohttp.ClientConnectorError(KEY, REFUSED), "refused", False),
    ("aiohttp name", aiohttp.ClientConnectorDNSError(KEY, OSError(None, "unknown")), "name", False),
    ("aiohttp connect", aiohttp.ConnectionTimeoutError("no connection within 0.2 s"), "connect-timeout", False),
    ("aiohttp read", aiohttp.SocketTimeoutError("x"), "read-timeout", False),
    ("aiohttp proxy down", aiohttp.ClientProxyConnectionError(KEY, REFUSED), "refused", True),
    ("aiohttp 407", aiohttp.ClientHttpProxyError(POOL, (), status=407, message=SECRET), "proxy-auth", True),
    ("aiohttp name of certificate", aiohttp.ClientConnectorCertificateError(KEY, untrusted(62)), "tls-name", False),
    ("aiohttp version", caused(aiohttp.ClientConnectorSSLError(KEY, tls("X")), tls("TLSV1_ALERT_PROTOCOL_VERSION")), "tls-version", False),
    ("aiohttp cut", caused(aiohttp.ClientPayloadError("x"), ConnectionResetError()), "truncated", False),
    ("aiohttp closed", aiohttp.ServerDisconnectedError(), "reset", False),
    ("requests refused", requests.ConnectionError(u3.MaxRetryError(POOL, "/", caused(u3.NewConnectionError(POOL, "x"), REFUSED))), "refused", False),
    ("requests name", requests.ConnectionError(u3.MaxRetryError(POOL, "/", u3.NameResolutionError("host", POOL, UNKNOWN))), "name", False),
    ("requests connect", requests.ConnectTimeout(u3.MaxRetryError(POOL, "/", u3.ConnectTimeoutError(POOL, "x"))), "connect-timeout", False),
    ("requests read", requests.ReadTimeout(u3.ReadTimeoutError(POOL, "/", "x")), "read-timeout", False),
    ("requests 407", requests.exceptions.ProxyError(u3.MaxRetryError(POOL, "/", u3.ProxyError("x", TUNNEL))), "proxy-auth", True),
    ("requests expired", requests.exceptions.SSLError(u3.MaxRetryError(POOL, "/", caused(u3.SSLError("x"), untrusted(10)))), "tls-expired", False),
    ("requests cut", requests.exceptions.ChunkedEncodingError(u3.ProtocolError("x", u3.IncompleteRead(1, 9))), "truncated", False),
    ("requests closed", requests.ConnectionError(u3.ProtocolError("x", http.client.RemoteDisconnected("x"))), "reset", False),
    ("botocore refused", botocore.exceptions.EndpointConnectionError(endpoint_url="x", error=requests.ConnectionError(REFUSED)), "refused", False),
    ("botocore read", botocore.exceptions.ReadTimeoutError(endpoint_url="x", error=requests.ReadTimeout()), "read-timeout", False),
    ("botocore closed", botocore.exceptions.ConnectionClosedError(endpoint_url="x", error=ConnectionResetError()), "reset", False),
    ("botocore proxy", botocore.exceptions.ProxyConnectionError(proxy_url="x", error=TUNNEL), "proxy-auth", True),
    ("azure name", ServiceRequestError(SECRET, error=requests.ConnectionError(u3.NameResolutionError("host", POOL, UNKNOWN))), "name", False),
    ("azure wrapped", caused(ClientAuthenticationError(SECRET), ServiceRequestError("x", error=requests.ConnectionError(REFUSED))), "refused", False),
    ("asyncio late", TimeoutError(), "read-timeout", False),
    ("asyncio cut", asyncio.IncompleteReadError(b"", 9), "truncated", False),
    ("no route", OSError(errno.EHOSTUNREACH, "x"), "no-route", False),
    ("kernel's time-out", TimeoutError(errno.ETIMEDOUT, "x"), "connect-timeout", False),
    ("not yet", untrusted(9), "tls-not-yet-valid", False),
    ("address of certificate", untrusted(64), "tls-name", False),
    ("self-signed", untrusted(18), "tls-authority", False),
    ("plain http", tls("WRONG_VERSION_NUMBER"), "tls-none", False),
    ("unknown to the server", tls("TLSV1_ALERT_UNKNOWN_CA"), "tls-client-certificate", False),
    ("hung up in TLS", ssl.SSLEOFError(8, "EOF occurred"), "reset", False),
    ("some alert", tls("TLSV1_ALERT_INTERNAL_ERROR"), "tls-other", False),
    ("anything", KeyError(SECRET), "unknown", False),
]


@pytest.mark.parametrize(("error", "kind", "at_proxy"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_librarys_fault_has_one_word(error: BaseException, kind: FaultKind, at_proxy: bool) -> None:
    fault = fault_of(error)
    assert (fault.kind, fault.at_proxy) == (kind, at_proxy)
    found = error_of(fault, HOP)
    assert "hunter2" not in str(found)


HOP = Hop("The service", "https://host:443", "chat.api_base", timeout_setting="chat.timeout_s")


@pytest.mark.parametrize("kind", get_args(FaultKind))
@pytest.mark.parametrize("proxy", ["", "http://proxy:8080"])
def test_every_fault_is_an_error_that_names_hop_setting_and_what_to_do(kind: FaultKind, proxy: str) -> None:
    hop = Hop("The service", "https://host:443", "chat.api_base", timeout_setting="chat.timeout_s", proxy=proxy)
    fault = Fault(kind, "detail", at_proxy=kind.startswith("proxy-"))
    error = error_of(fault, hop)
    assert isinstance(error, ServiceUnavailableError | ConfigurationError | OverloadedError)
    assert error.setting
    assert error.hint
    before = kind.startswith("proxy-") or (proxy and kind in ("name", "refused", "no-route"))
    assert error.hop == ("proxy to https://host:443" if before else "https://host:443")
    assert isinstance(error, TlsError) == kind.startswith("tls-")


def test_what_is_explicitly_no_cause_is_none() -> None:
    def fail() -> None:
        try:
            raise REFUSED
        except OSError:
            raise KeyError("another matter") from None

    with pytest.raises(KeyError) as caught:
        fail()
    assert list(causes(caught.value)) == [caught.value]


def test_causes_that_go_in_circles_end() -> None:
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert len(list(causes(one))) == 2


def test_telling_faults_apart_loads_no_library(root: Path) -> None:
    code = (
        "import sys, src.infra.hops\n"
        "print([name for name in ('httpx2', 'openai', 'aiohttp', 'requests', 'urllib3', 'botocore', 'azure', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_refused_credential_says_that_basic_alone_is_spoken() -> None:
    hint = error_of(Fault("proxy-auth", at_proxy=True, status=407), HOP).hint
    assert all(word in hint for word in ("Basic", "NTLM", "Negotiate", "network.proxy_password"))
