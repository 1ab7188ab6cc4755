"""`requests` under the outbound policy, for OpenSearch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth, _basic_auth_str

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .config import SearchCfg
    from .network import NetworkPolicy

CONNECT_TIMEOUT_S = 5.0


class BearerAuth(AuthBase):
    """Sends a bearer token; its repr does not."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


class PolicyAdapter(HTTPAdapter):
    """Certificate authorities, proxy and timeout from the policy.

    It has a TLS context of its own, because urllib3 changes the one that it is handed, and it keeps requests from adding
    certifi's list to it: the policy's authorities are all there are.
    """

    def __init__(self, policy: NetworkPolicy, timeout_s: float) -> None:
        self._policy = policy
        self._context = policy.new_ssl_context()
        self._timeout = (min(CONNECT_TIMEOUT_S, timeout_s), timeout_s)
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._context, **proxy_kwargs)

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Credentials go here, never into the proxy's address, which errors repeat."""
        parts = urlsplit(proxy)
        known = self._policy.configured_proxy
        if known is None or not known.username or urlsplit(known.url).netloc != parts.netloc:
            return {}
        return {"Proxy-Authorization": _basic_auth_str(known.username, known.password.get_secret_value())}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        if verify is not True:
            raise ConfigurationError("TLS verification is set by the outbound policy and never off.", setting="network.ca_bundle")
        parts = urlsplit(request.url or "")
        proxy = self._policy.proxy_for(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        routes = {parts.scheme: proxy.url} if proxy else {}
        return super().send(request, stream=stream, timeout=self._timeout if timeout is None else timeout, verify=True, cert=cert, proxies=routes)


def open_session(cfg: SearchCfg, policy: NetworkPolicy) -> requests.Session:
    """A session with the credentials of `[search]`, reading nothing from the environment."""
    session = requests.Session()
    session.trust_env = False
    session.headers["User-Agent"] = "founders-rag"
    if cfg.bearer_token:
        session.auth = BearerAuth(cfg.bearer_token)
    elif cfg.username:
        session.auth = HTTPBasicAuth(cfg.username, cfg.password.get_secret_value() if cfg.password else "")
    adapter = PolicyAdapter(policy, cfg.timeout_s)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
