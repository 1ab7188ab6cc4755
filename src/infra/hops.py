"""From a fault on the way to a service to the error that names the hop, the setting responsible and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigurationError, DeadlineExceededError, OverloadedError, RagError, ServiceUnavailableError, TlsError, UnreachableError
from .network.faults import Fault, FaultKind

CA_HINT = "Add your company's certificate authority."


@dataclass(frozen=True, slots=True)
class Hop:
    """One way out.

    Args:
        noun: at the beginning of a sentence, such as ``OpenSearch``.
        address: ``scheme://host:port``, without credentials.
        setting: the key that holds the address.
        timeout_setting: the key that says how long an answer may take.
        connect_setting: the key that says how long a connection may take.
        proxy: address of the proxy on the way; empty where there is none, or nobody knows.
    """

    noun: str
    address: str
    setting: str
    timeout_setting: str = "network.read_timeout_s"
    connect_setting: str = "network.connect_timeout_s"
    proxy: str = ""

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
    if fault.tls:
        return _tls(fault, hop)
    # Behind a proxy the host's own name and port are the proxy's to find.
    if fault.at_proxy or (hop.proxy and fault.kind in ("name", "refused", "no-route")):
        return _at_proxy(fault, hop)
    return _direct(fault, hop)


_PROXY_WORDS: dict[FaultKind, tuple[str, str]] = {
    "proxy-auth": ("does not accept its credential", "Check the proxy's address, user and password, and [network] no_proxy."),
    "proxy-forbidden": ("refused the connection", "Have this host allowed there, or name it in [network] no_proxy."),
    "proxy-failed": ("did not open the way", "Check the address behind it, and the proxy's own; hosts it cannot reach belong into [network] no_proxy."),
}


def _at_proxy(fault: Fault, hop: Hop) -> RagError:
    words, hint = _PROXY_WORDS.get(fault.kind, ("", ""))
    if fault.kind in ("reset", "truncated", "not-http"):
        words, hint = "closed the connection without opening the way", "Check its address, and whether it lets this machine in."
    if words:
        said = f" (HTTP {fault.status})" if fault.status else ""
        text = f"The proxy on the way to {hop.inside} {words}{said}."
    else:
        why = f": {fault.detail}" if fault.detail else ""
        text, hint = f"The proxy on the way to {hop.inside} cannot be reached{why}.", "Check its address."
    return UnreachableError(text, hop=hop.before, setting="network.proxy", hint=hint)


def _tls(fault: Fault, hop: Hop) -> TlsError:
    why, setting, hint = f"its certificate is not trusted: {fault.detail}", "network.ca_bundle", CA_HINT
    if fault.kind == "tls-name":
        setting, hint = hop.setting, "Use the name that its certificate is for."
    elif fault.kind == "tls-expired":
        setting, hint = hop.setting, "Have the server's certificate renewed; check this machine's clock."
    elif fault.kind == "tls-not-yet-valid":
        setting, hint = hop.setting, "Check this machine's clock, and the server's certificate."
    elif fault.kind == "tls-version":
        why = f"it speaks no TLS version that is allowed here ({fault.detail})"
        setting, hint = "network.tls_min_version", "Lower it, or have the server speak a newer one."
    elif fault.kind == "tls-client-certificate":
        why = f"it refuses our client certificate, or the lack of one ({fault.detail})"
        setting, hint = "network.client_certificate", "Check it and its key."
    elif fault.kind != "tls-authority":
        why, setting, hint = f"no secure connection ({fault.detail})", hop.setting, "Check port and https or http."
    return TlsError(f"{hop.noun} cannot be trusted: {why}.", hop=hop.address, setting=setting, hint=hint)


def _direct(fault: Fault, hop: Hop) -> RagError:
    where = {"hop": hop.address, "setting": hop.setting}
    if fault.kind in ("name", "refused", "no-route"):
        hint = "Check address and port, whether it runs, and whether a proxy is needed ([network] proxy)."
        return UnreachableError(f"{hop.noun} cannot be reached: {fault.detail}.", hint=hint, **where)
    if fault.kind == "connect-timeout":
        hint = f"Check address and port, whether a proxy is needed ([network] proxy), and {hop.connect_setting}."
        return UnreachableError(f"{hop.noun} cannot be reached: {fault.detail}.", hint=hint, **where)
    if fault.kind == "read-timeout":
        text, hint = f"{hop.noun} did not answer in time.", "Raise it, or look at the service and the way there."
        return DeadlineExceededError(text, hop=hop.address, setting=hop.timeout_setting, hint=hint)
    if fault.kind == "pool-timeout":
        text, hint = f"No connection to {hop.inside} came free in time.", "Raise it, or ask for less at once."
        return OverloadedError(text, hop=hop.address, setting="network.pool_size", hint=hint)
    if fault.kind == "not-http":
        return ConfigurationError("What answered is not an HTTP server.", hint="Check address, port and https.", **where)
    if fault.kind in ("reset", "truncated"):
        what = "broke off in the middle of its answer" if fault.kind == "truncated" else "closed the connection without an answer"
        # In TLS 1.3 a server looks at the client's certificate after the client has begun to send, and some then just hang up.
        certificate = ", and whether it wants a client certificate" if hop.address.startswith("https") else ""
        return UnreachableError(f"{hop.noun} {what}.", hint=f"Try again; look at the service and what lies before it{certificate}.", **where)
    return ServiceUnavailableError(f"{hop.noun} cannot be reached ({fault.detail}).", hint="Try again; look at the way there.", **where)
