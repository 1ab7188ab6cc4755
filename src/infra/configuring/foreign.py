"""Variables that other programs share, such as ``HTTPS_PROXY`` and ``SSL_CERT_FILE``: the lowest layer of the configuration.

They count only where `[network] trust_env` is on, and only for what nothing else configures; otherwise none of them is looked at.
The spelling in small letters comes first, as with curl and requests; what is set but empty says that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import ConfigurationError
from ...telemetry.logger import get_logger
from ..network.bypass import direct_hosts
from ..network.proxies import DIRECT, PROXY_KEYS
from .provenance import Source
from .schema import display
from .sources import Layer

log = get_logger(__name__)

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
"""The first that is set counts. Each stands in place of the system's authorities, as it does where it comes from."""
_TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})


class ForeignLayer(Layer):
    """Proxies, `no_proxy` and certificate authorities of the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()  # without `environ`: ``${…}`` in these values is nothing of ours
        self._variables = environ

    def __call__(self) -> dict[str, Any]:
        configured: Mapping[str, Any] = self.current_state.get("network", {})
        if _is_true(configured.get("trust_env")):
            # One proxy that is configured is a decision on proxies: the environment's would outrank it for one scheme.
            if not any(key in configured for key in PROXY_KEYS):
                self._take_proxies()
            self._take_no_proxy()
            if "ca_bundle" not in configured:
                self._take_authorities()
        return super().__call__()

    def _take_proxies(self) -> None:
        """``HTTPS_PROXY`` is the proxy, and plain HTTP goes by ``HTTP_PROXY`` or ``ALL_PROXY``, or directly."""
        every, https, http = (self._variable(name) for name in ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"))
        if http == "HTTP_PROXY" and "REQUEST_METHOD" in self._variables:
            http = None  # in a CGI program anyone can set it by a header `Proxy` (CVE-2016-5385)
        main = https or every
        if main and self._variables[main]:
            self._set("proxy", self._variables[main], main)
        plain = http or every
        if plain and self._variables[plain]:
            if plain != main and self._variables[plain] != self._variables.get(main or ""):
                self._set("http_proxy", self._variables[plain], plain)
        elif main and self._variables[main]:
            self._set("http_proxy", DIRECT, plain or main)

    def _take_no_proxy(self) -> None:
        name = self._variable("NO_PROXY")
        if name and self._variables[name].strip():
            entries = [entry for entry in re.split(r"[\s,]+", self._variables[name]) if entry]
            usable = [entry for entry in entries if _is_usable(entry)]
            for entry in entries:
                if entry not in usable:  # not ours: other programs may understand it
                    log.warning("%s: %r is no host, address or network, and left out", name, display(entry))
            if usable:
                self._set("no_proxy", ",".join(usable), name)

    def _take_authorities(self) -> None:
        names = [name for name in CA_VARIABLES if self._variables.get(name)]
        for name in reversed(names):  # of several entries the last counts, and shadows the others
            self._set("ca_bundle", self._variables[name], name)
        if names:
            self._set("ca_mode", "replace", names[0])

    def _variable(self, name: str) -> str | None:
        """The spelling that is set."""
        return next((spelling for spelling in (name.lower(), name) if spelling in self._variables), None)

    def _set(self, key: str, value: str, variable: str) -> None:
        self.add("network", key, value, Source("environment", variable))


def _is_usable(entry: str) -> bool:
    try:
        direct_hosts([entry])
    except ConfigurationError:
        return False
    return True


def _is_true(value: object) -> bool:
    return value is True or str(value).strip().lower() in _TRUE
