"""From what went wrong on the way to a service to the error that names the hop, the proxy, the setting responsible and what to do. Pure.

The one classification for all hops: what a connection failed with (`error_of`), and answers that mean the same whoever gives them
(`answer_error`). What a service means by an answer of its own stands with that service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import DeadlineExceededError, ForeignServiceError, OverloadedError, RagError, ServiceUnavailableError, TlsError, UnreachableError
from .network.faults import Fault, FaultKind

if TYPE_CHECKING:
    from .network import ProxySettings

RELAY_HINT = "Basic alone is spoken: for a proxy that takes only NTLM or Negotiate, name a relay on this machine (px, cntlm) in network.proxy."
CA_HINT = "Add your company's certificate authority."


@dataclass(frozen=True, slots=True)
class Hop:
    """One way out.

    Args:
        noun: at the beginning of a sentence, such as ``OpenSearch``.
        address: ``scheme://host:port``, without credentials.
        setting: the key that holds the address, or that it follows from.
        timeout_setting: the key that says how long an answer may take.
        connect_setting: the key that says how long a connection may take.
        proxy: address of the proxy on the way; empty where there is none, or nobody knows.
        proxy_setting: the key that holds it.
        reach_setting: the key to look at where nothing is reached; left out, the address's.
        repeats_setting: the key that says how patiently a service without room is asked again.
    """

    noun: str
    address: str
    setting: str
    timeout_setting: str = "network.read_timeout_s"
    connect_setting: str = "network.connect_timeout_s"
    proxy: str = ""
    proxy_setting: str = "network.proxy"
    reach_setting: str = ""
    repeats_setting: str = ""

    def through(self, proxy: ProxySettings | None) -> Hop:
        """The same way with its proxy; None where it leads through none."""
        return self if proxy is None else replace(self, proxy=proxy.url, proxy_setting=proxy.setting)

    @property
    def before(self) -> str:
        """The hop's name while the proxy is at fault."""
        return f"proxy to {self.address}"

    @property
    def inside(self) -> str:
        """The noun inside a sentence."""
        return self.noun[0].lower() + self.noun[1:] if self.noun.startswith(("The ", "A ")) else self.noun


def error_of(fault: Fault, hop: Hop) -> RagError:
    """The error for a fault on a hop."""
    # Behind a proxy the host's own name and port are the proxy's to find.
    at_proxy = fault.at_proxy or bool(hop.proxy and fault.kind in ("name", "refused", "no-route"))
    error = _tls(fault, hop) if fault.tls else _at_proxy(fault, hop) if at_proxy else _direct(fault, hop)
    error.proxy = hop.proxy
    return error


def answer_error(status: int, hop: Hop, *, retry_after: str = "") -> RagError | None:
    """The error of an answer that means the same from every service; None where it is the service's own to explain.

    Args:
        retry_after: the header of that name.
    """
    if status == 407:  # of a proxy that forwards plain HTTP, or breaks TLS open
        return error_of(Fault("proxy-auth", at_proxy=True, status=status), hop)
    where = {"hop": hop.address, "proxy": hop.proxy}
    if 300 <= status < 400:
        text = f"{hop.noun} redirects elsewhere (HTTP {status})."
        return ForeignServiceError(text, setting=hop.setting, hint="Name its final address; if that is a login, the way must not lead past it.", **where)
    if status == 429:
        when = f"in {retry_after} s" if retry_after.isdecimal() else "later"
        hint = f"Try again {when}; if it keeps happening, ask for less at once, have its quota raised, or allow more repeats."
        return OverloadedError(f"{hop.noun} has no room now (HTTP 429).", setting=hop.repeats_setting, hint=hint, **where)
    if status == 504:
        hint = "Try again later; look at the service's load, and at what lies before it."
        return DeadlineExceededError(f"A gateway before {hop.inside} waited in vain (HTTP 504).", setting=hop.setting, hint=hint, **where)
    if status >= 500 or status == 408:
        hint = "Try again later; look at the service, and at what lies before it."
        return ServiceUnavailableError(f"{hop.noun} failed (HTTP {status}).", setting=hop.setting, hint=hint, **where)
    return None


def foreign(hop: Hop, what: str) -> ForeignServiceError:
    """The error of an answer that the service never gives: a web page, a login, another service."""
    hint = "Check address and port, and what intercepts the way there."
    return ForeignServiceError(f"What answered ({what}) is not {hop.inside}.", hop=hop.address, proxy=hop.proxy, setting=hop.setting, hint=hint)


_PROXY_WORDS: dict[FaultKind, tuple[str, str]] = {
    "proxy-forbidden": ("refused the connection", "Have this host allowed there, or name it in network.no_proxy."),
    "proxy-failed": ("did not open the way", "Check the address behind it, and the proxy's own; hosts it cannot reach belong into network.no_proxy."),
}


def _at_proxy(fault: Fault, hop: Hop) -> RagError:
    who, setting = f"The proxy on the way to {hop.inside}", hop.proxy_setting
    words, hint = _PROXY_WORDS.get(fault.kind, ("", ""))
    if fault.kind == "proxy-auth":
        words, setting = "does not accept its credential, or wants one", "network.proxy_username"
        hint = f"Set network.proxy_username and network.proxy_password, best as secrets; or name this host in network.no_proxy. {RELAY_HINT}"
    elif fault.kind in ("reset", "truncated", "not-http"):
        words, hint = "closed the connection without opening the way", "Check its address, and whether it lets this machine in."
    if words:
        said = f" (HTTP {fault.status})" if fault.status else ""
        return UnreachableError(f"{who} {words}{said}.", hop=hop.before, setting=setting, hint=hint)
    why = f": {fault.detail}" if fault.detail else ""
    late = f", and {hop.connect_setting}" if fault.kind in ("connect-timeout", "read-timeout") else ""
    return UnreachableError(f"{who} cannot be reached{why}.", hop=hop.before, setting=setting, hint=f"Check its address{late}.")


def _tls(fault: Fault, hop: Hop) -> TlsError:
    who, address, at = (f"The proxy on the way to {hop.inside}", hop.before, hop.proxy_setting) if fault.at_proxy else (hop.noun, hop.address, hop.setting)
    why, setting, hint = f"its certificate is not trusted: {fault.detail}", "network.ca_bundle", CA_HINT
    if fault.kind == "tls-name":
        setting, hint = at, "Use the name that its certificate is for, and check what intercepts the way there."
    elif fault.kind == "tls-expired":
        setting, hint = at, "Have the server's certificate renewed; check this machine's clock."
    elif fault.kind == "tls-not-yet-valid":
        setting, hint = at, "Check this machine's clock, and the server's certificate."
    elif fault.kind == "tls-version":
        why = f"it speaks no TLS version that is allowed here ({fault.detail})"
        setting, hint = "network.tls_min_version", "Lower it, or have the server speak a newer one."
    elif fault.kind == "tls-client-certificate":
        why = f"it refuses our client certificate, or the lack of one ({fault.detail})"
        setting, hint = "network.client_certificate", "Check it and its key."
    elif fault.kind != "tls-authority":
        why, setting, hint = f"no secure connection ({fault.detail})", at, "Check port and https or http."
    return TlsError(f"{who} cannot be trusted: {why}.", hop=address, setting=setting, hint=hint)


def _direct(fault: Fault, hop: Hop) -> RagError:
    # Behind a proxy something was reached, so the way out is there.
    reach = {"hop": hop.address, "setting": hop.setting if hop.proxy or fault.kind == "truncated" else hop.reach_setting or hop.setting}
    if fault.kind in ("name", "refused", "no-route", "connect-timeout"):
        late = f", and {hop.connect_setting}" if fault.kind == "connect-timeout" else ""
        proxy = "" if hop.proxy else ", and whether a proxy is needed (network.proxy)"
        hint = f"Check address and port, whether it runs{proxy}{late}."
        return UnreachableError(f"{hop.noun} cannot be reached: {fault.detail}.", hint=hint, **reach)
    if fault.kind == "read-timeout":
        text, hint = f"{hop.noun} did not answer in time.", "Raise it, or look at the service and the way there."
        return DeadlineExceededError(text, hop=hop.address, setting=hop.timeout_setting, hint=hint)
    if fault.kind == "pool-timeout":
        text, hint = f"No connection to {hop.inside} came free in time.", "Raise it, or ask for less at once."
        return OverloadedError(text, hop=hop.address, setting="network.pool_size", hint=hint)
    if fault.kind == "not-http":
        return foreign(hop, "not in HTTP")
    if fault.kind in ("reset", "truncated"):
        what = "broke off in the middle of its answer" if fault.kind == "truncated" else "closed the connection without an answer"
        # In TLS 1.3 a server looks at the client's certificate after the client has begun to send, and some then just hang up.
        certificate = ", and whether it wants a client certificate (network.client_certificate)" if hop.address.startswith("https") else ""
        return UnreachableError(f"{hop.noun} {what}.", hint=f"Try again; look at the service and what lies before it{certificate}.", **reach)
    return ServiceUnavailableError(f"{hop.noun} cannot be reached ({fault.detail}).", hint="Try again; look at the way there.", **reach)
