"""Why there is no token: one error of ours for each way in which an identity fails, with its hop and the setting responsible.

Nothing of what a server wrote is repeated but OAuth's word and Entra's number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...errors import IdentityError, RagError, ServiceUnavailableError
from ..hops import Hop, answer_error, error_of, foreign
from ..network.faults import causes, fault_of
from .exchange import Exchange

if TYPE_CHECKING:
    from .kinds import Kind

_CODES: dict[str, tuple[str, str]] = {
    # number: (setting, what to do); "" is the setting of the credential itself
    "7000215": ("azure.client_secret", "The secret is wrong: take its value, not its id."),
    "7000222": ("azure.client_secret", "The secret has expired: make a new one."),
    "700027": ("", "Upload this certificate to the app registration; with send_certificate_chain, put those above it into the same file."),
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
_FINAL = frozenset({"proxy-auth", "proxy-forbidden", "not-http"})
"""What fails for good; all else may heal in a moment."""
_WORDS = {"invalid_scope": "azure.scope", "invalid_resource": "azure.scope", "unauthorized_client": "azure.client_id", "invalid_tenant": "azure.tenant_id"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, whether to try again, and after how long at the least."""

    error: RagError
    again: bool = False
    retry_after: str | None = None
    absent: bool = False
    """This kind of identity is not to be had here: a chain goes on to its next."""
    asked: bool = False
    """Somebody was asked, and may be spared the next question for a while."""


def failure_of(exchange: Exchange, kind: Kind) -> Failure:
    """What the last exchange of a fetch that brought no token means."""
    if exchange.failure is not None:
        return replace(_connection(exchange, exchange.failure, kind), asked=True)
    if exchange.status is not None:
        return replace(_answer(exchange, exchange.status, kind), asked=True)
    return Failure(kind.missing(), absent=True)


def _connection(exchange: Exchange, failure: Exception, kind: Kind) -> Failure:
    ours = next((cause for cause in causes(failure) if isinstance(cause, RagError)), None)
    if ours is not None:
        return Failure(ours)
    fault = fault_of(failure)
    if kind.local and not fault.tls:
        return Failure(kind.missing(), absent=True)
    return Failure(error_of(fault, _hop(exchange)), again=not fault.tls and fault.kind not in _FINAL)


def _hop(exchange: Exchange) -> Hop:
    way = Hop("The identity service", exchange.hop, "azure.authority_host", timeout_setting="azure.timeout_s", repeats_setting="azure.timeout_s")
    return way.through(exchange.proxy)


def _answer(exchange: Exchange, status: int, kind: Kind) -> Failure:
    hop = _hop(exchange)
    known = answer_error(status, hop, retry_after=exchange.retry_after or "")
    if known is not None and status != 408:
        return Failure(known, again=status == 429 or status >= 500, retry_after=exchange.retry_after)
    if status in (408, 410):  # 410: how the metadata service says that it is being updated
        error = ServiceUnavailableError(f"The identity service failed (HTTP {status}).", hop=hop.address, setting=hop.setting, hint="Try again later.")
        return Failure(error, again=True, retry_after=exchange.retry_after)
    if kind.local and status in (400, 403, 404):
        return Failure(kind.missing(f" (HTTP {status})"), absent=True)
    if status < 300:
        hint = "Something else than an identity service answers there: check the address, and what intercepts it."
        return Failure(IdentityError("The identity service answered, but with no token.", hop=hop.address, proxy=hop.proxy, setting=hop.setting, hint=hint))
    return Failure(_refused(exchange, status, kind))


def _refused(exchange: Exchange, status: int, kind: Kind) -> RagError:
    known = next((code for code in exchange.codes if code in _CODES), None)
    if known is not None:
        setting, hint = _CODES[known]
    elif status == 404:
        setting, hint = "azure.authority_host", "No authority answers there, or none that knows the tenant."
    elif not exchange.error and not exchange.codes and not kind.local:
        return foreign(_hop(exchange), f"HTTP {status}, no word of OAuth's")
    else:
        setting, hint = _WORDS.get(exchange.error, ""), "Compare tenant_id, client_id and credential with the app registration."
    said = ", ".join(part for part in (f"HTTP {status}", exchange.error, *(f"AADSTS{code}" for code in exchange.codes)) if part)
    text, proxy = f"The identity service refuses the {kind.words} ({said}).", exchange.proxy.url if exchange.proxy else ""
    return IdentityError(text, hop=exchange.hop, proxy=proxy, setting=setting or kind.setting, hint=hint)
