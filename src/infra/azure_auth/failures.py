"""Why there is no token: one error of ours for each way in which an identity fails, with its hop and the setting responsible.

Nothing of what a server wrote is repeated but OAuth's word and Entra's number.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import (
    ConfigurationError,
    DeadlineExceededError,
    IdentityError,
    OverloadedError,
    RagError,
    ServiceUnavailableError,
    TlsError,
    UnreachableError,
)
from .exchange import Exchange, causes

if TYPE_CHECKING:
    from .kinds import Kind

_CODES: dict[str, tuple[str, str]] = {
    # number: (setting, what to do); "" is the setting of the credential itself
    "7000215": ("azure.client_secret", "The secret is wrong: take its value, not its id."),
    "7000222": ("azure.client_secret", "The secret has expired: make a new one."),
    "700027": ("", "Upload this certificate to the app registration."),
    "700024": ("", "Check this machine's clock: what it signed lies outside its time."),
    "700023": ("azure.authority_host", "The authority expects another audience: check its address."),
    "700016": ("azure.client_id", "The tenant knows no such application."),
    "700213": ("azure.federated_token_file", "No federated credential of the application fits subject and issuer of this token."),
    "70021": ("azure.federated_token_file", "No federated credential of the application fits subject and issuer of this token."),
    "7000112": ("azure.client_id", "The application is disabled."),
    "90002": ("azure.tenant_id", "There is no such tenant at this authority."),
    "900023": ("azure.tenant_id", "It is neither an id nor a domain of a tenant."),
    "70011": ("azure.scope", "Write it as the resource's address and /.default."),
    "1002012": ("azure.scope", "Write it as the resource's address and /.default."),
    "500011": ("azure.scope", "The tenant knows no such resource."),
    "53003": ("azure.client_id", "A conditional access policy blocks it: ask for this machine's address, or the proxy's, to be allowed."),
}
_CONNECT_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_WORDS = {"invalid_scope": "azure.scope", "invalid_resource": "azure.scope", "unauthorized_client": "azure.client_id", "invalid_tenant": "azure.tenant_id"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, whether to try again, and after how long at the least."""

    error: RagError
    again: bool = False
    retry_after: str | None = None
    absent: bool = False
    """This kind of identity is not to be had here: a chain goes on to its next."""


def failure_of(exchange: Exchange, kind: Kind) -> Failure:
    """What the last exchange of a fetch that brought no token means."""
    if exchange.failure is not None:
        return _connection(exchange, exchange.failure, kind)
    if exchange.status is not None:
        return _answer(exchange, exchange.status, kind)
    return Failure(kind.missing(), absent=True)


def _connection(exchange: Exchange, failure: Exception, kind: Kind) -> Failure:
    import requests
    from urllib3.exceptions import NameResolutionError

    found = list(causes(failure))
    ours = next((cause for cause in found if isinstance(cause, RagError)), None)
    if ours is not None:
        return Failure(ours)
    tls = next((cause for cause in found if isinstance(cause, ssl.SSLError)), None)
    if tls is not None or isinstance(failure, requests.exceptions.SSLError):
        return Failure(_tls(exchange, tls))
    if kind.local:
        return Failure(kind.missing(), absent=True)
    if isinstance(failure, requests.exceptions.ProxyError):
        return _proxy(exchange, failure)
    setting = "network.proxy" if exchange.proxy else "azure.authority_host"
    way = f" through the proxy {exchange.proxy.url}" if exchange.proxy else ""
    if isinstance(failure, requests.exceptions.Timeout):
        text = f"The identity service did not answer in time{way}."
        return Failure(
            DeadlineExceededError(text, hop=exchange.hop, setting=setting, hint="Check the way there; azure.timeout_s allows more time."), again=True
        )
    if any(isinstance(cause, NameResolutionError) for cause in found):
        text, hint = f"The name of the identity service cannot be resolved{way}.", "Check it; inside a company's network it may need network.proxy."
        return Failure(UnreachableError(text, hop=exchange.hop, setting=setting, hint=hint), again=True)
    if any(isinstance(cause, ConnectionRefusedError) for cause in found):
        text, hint = f"The identity service refuses connections{way}.", "Check its address, and the way there."
    else:
        text = f"The connection to the identity service broke off{way}."
        hint = "Check the way there; one that demands a certificate of its clients (network.client_certificate) may end it like this."
    return Failure(UnreachableError(text, hop=exchange.hop, setting=setting, hint=hint), again=True)


def _tls(exchange: Exchange, tls: BaseException | None) -> RagError:
    if isinstance(tls, ssl.SSLCertVerificationError):
        name = "hostname" in (tls.verify_message or "").lower() or tls.verify_code in (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, ..._IP_ADDRESS_MISMATCH
        setting, hint = ("azure.authority_host", "Check its address.") if name else ("network.ca_bundle", "Add your company's certificate authority.")
        return TlsError(f"The identity service's certificate is not trusted: {tls.verify_message}.", hop=exchange.hop, setting=setting, hint=hint)
    reason = str(getattr(tls, "reason", None) or "")
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        text, setting = "The identity service asks for a client certificate, or for another TLS version.", "network.client_certificate"
        return TlsError(text, hop=exchange.hop, setting=setting, hint="Set network.client_certificate.")
    return TlsError("The TLS connection to the identity service failed.", hop=exchange.hop, setting="network.ca_bundle", hint="Check what stands between.")


def _proxy(exchange: Exchange, failure: Exception) -> Failure:
    hop = f"proxy {exchange.proxy.url}" if exchange.proxy else "proxy"
    said = next((match[1] for cause in causes(failure) if (match := _CONNECT_STATUS.search(str(cause)))), "")
    if said == "407":
        text, hint = f"The proxy wants a user and password, or others, on the way to {exchange.hop}.", "Check network.proxy_password too."
        return Failure(UnreachableError(text, hop=hop, setting="network.proxy_username", hint=hint))
    if said == "403":
        text, hint = f"The proxy forbids the way to {exchange.hop}.", "Have this host allowed, or name it in network.no_proxy."
        return Failure(UnreachableError(text, hop=hop, setting="network.proxy", hint=hint))
    text = f"The proxy did not open the way to {exchange.hop}."
    return Failure(UnreachableError(text, hop=hop, setting="network.proxy", hint="Check its address."), again=True)


def _answer(exchange: Exchange, status: int, kind: Kind) -> Failure:
    hop = exchange.hop
    if status == 429:
        text, wait = "The identity service has no room now (HTTP 429).", exchange.retry_after or ""
        hint = f"Try again in {wait} s." if wait.isdecimal() else "Try again later."
        return Failure(OverloadedError(text, hop=hop, setting="azure.client_id", hint=hint), again=True, retry_after=exchange.retry_after)
    if status >= 500 or status in (408, 410):
        text = f"The identity service failed (HTTP {status})."
        error = ServiceUnavailableError(text, hop=hop, setting="azure.authority_host", hint="Try again later.")
        return Failure(error, again=True, retry_after=exchange.retry_after)
    if 300 <= status < 400:
        return Failure(ConfigurationError("The identity service redirects elsewhere.", hop=hop, setting="azure.authority_host", hint="Name its final address."))
    if kind.local and status in (400, 403, 404):
        return Failure(kind.missing(f" (HTTP {status})"), absent=True)
    if status < 300:
        hint = "Something else than an identity service answers there: check the address, and what intercepts it."
        return Failure(IdentityError("The identity service answered, but with no token.", hop=hop, setting="azure.authority_host", hint=hint))
    return Failure(_refused(exchange, status, kind))


def _refused(exchange: Exchange, status: int, kind: Kind) -> IdentityError:
    known = next((code for code in exchange.codes if code in _CODES), None)
    if known is not None:
        setting, hint = _CODES[known]
    elif status == 404:
        setting, hint = "azure.authority_host", "No authority answers there, or none that knows the tenant."
    else:
        setting, hint = _WORDS.get(exchange.error, ""), "Compare tenant_id, client_id and credential with the app registration."
    said = ", ".join(part for part in (f"HTTP {status}", exchange.error, *(f"AADSTS{code}" for code in exchange.codes)) if part)
    return IdentityError(f"The identity service refuses the {kind.words} ({said}).", hop=exchange.hop, setting=setting or kind.setting, hint=hint)
