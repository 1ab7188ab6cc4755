"""`requests` under the outbound policy, for OpenSearch."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import ProxyError

from ..errors import ConfigurationError, MissingExtraError, RagError

if TYPE_CHECKING:
    from .aws_credentials import AwsCredentials
    from .config import SearchCfg
    from .network import NetworkPolicy

POOL_SIZE = 10


class BearerAuth(AuthBase):
    """Sends a bearer token; its repr does not."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


class SigV4Auth(AuthBase):
    """Signs each request with credentials that renew themselves; asks for them with the first one. A request whose credential the
    server refuses before its time is sent once more where AWS gives another, unless its body is a stream that is spent.

    Each request has an `AWS4Auth` of its own: one that is shared changes its keys under the threads that sign with it.

    Raises:
        MissingExtraError: requests-aws4auth is not installed.
    """

    def __init__(self, credentials: AwsCredentials, service: str) -> None:
        try:
            from requests_aws4auth import AWS4Auth
        except ImportError:
            raise MissingExtraError(
                "Signing for AWS needs the extra `aws`, which is not installed.",
                setting="search.use_aws_auth",
                hint="Install it with: pip install 'founders-rag[aws]'",
            ) from None
        self._credentials = credentials
        self._service = service
        self._sign = AWS4Auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", self._again)  # type: ignore[no-untyped-call]  # requests gives it no types
        return self._signed(request)

    def _again(self, answer: requests.Response, **sending: Any) -> requests.Response:
        from .aws_auth import refused_key

        refused = refused_key(answer.request.headers, answer.content) if answer.status_code == 403 else None
        try:
            renewed = refused is not None and self._credentials.renew_blocking(refused)
        except RagError:  # the refusal is what the caller has to hear of
            return answer
        if not renewed or not isinstance(answer.request.body, bytes | str | None):
            return answer
        repeated: requests.Response = answer.connection.send(self._signed(answer.request.copy()), **sending)
        repeated.history.append(answer)
        return repeated

    def _signed(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        keys = self._credentials.get_blocking()
        for name in ("x-amz-date", "date", "x-amz-security-token"):  # of an earlier attempt, or of another time
            request.headers.pop(name, None)
        # requests-aws4auth reads a semicolon as the end of the path, and signs only what stands before it.
        request.url = (request.url or "").replace(";", "%3B")
        signed: requests.PreparedRequest = self._sign(keys.access_key, keys.secret_key, keys.region, self._service, session_token=keys.token)(request)
        return signed


class _TunnelConnection(HTTPSConnection):
    """What fails before the proxy has opened the way is the proxy's failure; urllib3 says so only of connecting to it."""

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        except (OSError, HTTPException) as error:
            raise ProxyError("The proxy did not open the way.", error) from error


class _TunnelPool(HTTPSConnectionPool):
    ConnectionCls = _TunnelConnection


class PolicyAdapter(HTTPAdapter):
    """Certificate authorities, proxy and timeouts from the policy.

    The TLS context is the one for requests, which changes what it is handed, and requests is kept from adding
    certifi's list to it: the policy's authorities are all there are.

    Args:
        timeouts: seconds to connect, and to wait for an answer or its next piece; left out, the policy's.
        pool_size: connections kept to each host; left out, requests' own 10, or the policy's where that is less.
        proxied: go through the policy's proxy; off for link-local metadata services.
    """

    def __init__(self, policy: NetworkPolicy, timeouts: tuple[float, float] | None = None, *, pool_size: int | None = None, proxied: bool = True) -> None:
        self._policy = policy
        self._context = policy.requests_context
        self._timeouts = timeouts or (policy.limits.connect_s, policy.limits.read_s)
        self._proxied = proxied
        super().__init__(pool_maxsize=min(POOL_SIZE, policy.limits.pool_size) if pool_size is None else pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._context, **proxy_kwargs)
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _TunnelPool}
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Credentials go here, never into the proxy's address, which errors repeat."""
        there = urlsplit(proxy).netloc
        known = next((found for found in self._policy.proxies if found.username and urlsplit(found.url).netloc == there), None)
        return {} if known is None else {"Proxy-Authorization": known.authorization}

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
        proxy = self._policy.proxy_for(parts.hostname or "", parts.port, parts.scheme) if self._proxied else None
        routes = {parts.scheme: proxy.url} if proxy else {}
        return super().send(request, stream=stream, timeout=self._timeouts if timeout is None else timeout, verify=True, cert=cert, proxies=routes)


class SearchSession(requests.Session):
    """Follows no redirect: body and credentials go to the host that was named. The answer that redirects is the answer."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def open_session(cfg: SearchCfg, policy: NetworkPolicy) -> requests.Session:
    """A session with the credentials of `[search]`, reading nothing from the environment."""
    session = SearchSession()
    session.trust_env = False
    session.headers["User-Agent"] = "founders-rag"
    if cfg.use_aws_auth:
        from .aws_auth import aws_credentials

        session.auth = SigV4Auth(aws_credentials(cfg, policy), cfg.aws_service)
    elif cfg.bearer_token:
        session.auth = BearerAuth(cfg.bearer_token)
    elif cfg.username:
        session.auth = HTTPBasicAuth(cfg.username, cfg.password.get_secret_value() if cfg.password else "")
    adapter = PolicyAdapter(policy, (cfg.connect_timeout_s, cfg.timeout_s), pool_size=cfg.pool_size)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
