"""`requests` under the outbound policy, for OpenSearch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from ..errors import ConfigurationError, MissingExtraError, RagError
from .search.opensearch.wire.credentials import header_of, secret_of
from .search.opensearch.wire.failures import credential_setting, opensearch_hop
from .secrets.live import LiveSecret, renewed_blocking
from .session_errors import SearchResponse, address, both, told
from .session_limits import POOLS, within

if TYPE_CHECKING:
    from .aws.credentials import AwsCredentials
    from .config import SearchCfg
    from .hops import Hop
    from .network import NetworkPolicy, ProxySettings

POOL_SIZE = 10


class SecretAuth(AuthBase):
    """Sends user and password, or bearer token, of `[search]` as they are at that time; its repr shows neither. A request whose
    secret is refused is sent once more where there is another one now, unless its body is a stream that is spent.
    """

    def __init__(self, cfg: SearchCfg, secret: SecretStr) -> None:
        self._cfg = cfg
        self._secret = secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if isinstance(self._secret, LiveSecret):
            request.register_hook("response", self._again)  # type: ignore[no-untyped-call]  # requests gives it no types
        return self._with_secret(request)

    def _with_secret(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = header_of(self._cfg, self._secret.get_secret_value())
        return request

    def _again(self, answer: requests.Response, **sending: Any) -> requests.Response:
        if answer.status_code != 401 or not isinstance(answer.request.body, bytes | str | None):
            return answer
        secret = self._secret.get_secret_value()
        if header_of(self._cfg, secret) == answer.request.headers.get("Authorization") and not renewed_blocking(self._secret, secret):
            return answer
        _ = answer.content  # to its end, so that the connection is free again
        repeated: requests.Response = answer.connection.send(self._with_secret(answer.request.copy()), **sending)
        repeated.history.append(answer)
        return repeated


class SigV4Auth(AuthBase):
    """Signs each request with credentials that renew themselves; asks for them with the first one. A request whose credential the
    server refuses before its time is sent once more where AWS gives another, unless its body is a stream that is spent.

    Each request has an `AWS4Auth` of its own: one that is shared changes its keys under the threads that sign with it.

    Args:
        patience_s: seconds to wait for credentials.

    Raises:
        MissingExtraError: requests-aws4auth is not installed.
    """

    def __init__(self, credentials: AwsCredentials, service: str, patience_s: float) -> None:
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
        self._patience_s = patience_s
        self._sign = AWS4Auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", self._again)  # type: ignore[no-untyped-call]  # requests gives it no types
        return self._signed(request)

    def _again(self, answer: requests.Response, **sending: Any) -> requests.Response:
        from .aws.signing import refused_key

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
        keys = self._credentials.get_blocking(self._patience_s)
        for name in ("x-amz-date", "date", "x-amz-security-token"):  # of an earlier attempt, or of another time
            request.headers.pop(name, None)
        # requests-aws4auth reads a semicolon as the end of the path, and signs only what stands before it.
        request.url = (request.url or "").replace(";", "%3B")
        signed: requests.PreparedRequest = self._sign(keys.access_key, keys.secret_key, keys.region, self._service, session_token=keys.token)(request)
        return signed


class PolicyAdapter(HTTPAdapter):
    """Certificate authorities, proxy and timeouts from the policy.

    The TLS context is the one for requests, which changes what it is handed, and requests is kept from adding
    certifi's list to it: the policy's authorities are all there are.

    Args:
        timeouts: seconds to connect, and to wait for an answer or its next piece; left out, the policy's.
        total_s: seconds for a whole exchange, the answer's body included; left out, the policy's. A call with time-outs of its own is
            held to the policy's, or to its own where that is more.
        pool_size: connections kept to each host; left out, requests' own 10, or the policy's where that is less.
        proxied: go through the policy's proxy; off for link-local metadata services.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        timeouts: tuple[float, float] | None = None,
        *,
        total_s: float | None = None,
        pool_size: int | None = None,
        proxied: bool = True,
    ) -> None:
        self._total_s = policy.limits.total_s if total_s is None else total_s
        self._policy = policy
        self._context = policy.requests_context
        self._timeouts = timeouts or (policy.limits.connect_s, policy.limits.read_s)
        self._proxied = proxied
        super().__init__(pool_maxsize=min(POOL_SIZE, policy.limits.pool_size) if pool_size is None else pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context, proxy_ssl_context=self._context, **proxy_kwargs)
        manager.pool_classes_by_scheme = POOLS
        # One dictionary, which the pools it makes share: a password that changed counts for the next connection.
        manager.proxy_headers.update(self.proxy_headers(proxy))
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
        proxy = self.proxy_of(request)
        routes = {urlsplit(request.url or "").scheme: proxy.url} if proxy else {}
        with within(self._seconds(timeout)):
            return super().send(request, stream=stream, timeout=self._phases(timeout), verify=True, cert=cert, proxies=routes)

    def proxy_of(self, request: requests.PreparedRequest) -> ProxySettings | None:
        """The proxy on a request's way."""
        parts = urlsplit(request.url or "")
        return self._policy.proxy_for(parts.hostname or "", parts.port, parts.scheme) if self._proxied else None

    def _phases(self, timeout: Any) -> Any:
        """To connect, and to wait for an answer or its next piece."""
        return self._timeouts if timeout is None else timeout

    def _seconds(self, timeout: Any) -> float:
        """For the whole of an exchange with this time-out."""
        if timeout is None:
            return self._total_s
        own = [part for part in (timeout if isinstance(timeout, tuple) else (timeout,)) if isinstance(part, int | float)]
        return max([self._policy.limits.total_s, *own])


class SearchAdapter(PolicyAdapter):
    """Fails with errors of both kinds, see `session_errors`."""

    credential = ""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            return super().send(request, stream, timeout, verify, cert, proxies)
        except requests.RequestException as error:
            raise told(error, self._hop(request)) from None

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        found: Any = super().build_response(req, resp)
        found.__class__ = SearchResponse
        found.hop, found.credential = self._hop(req), self.credential
        return cast("requests.Response", found)

    def _hop(self, request: requests.PreparedRequest) -> Hop:
        return opensearch_hop(address(request.url or "")).through(self.proxy_of(request))


class SearchSession(requests.Session):
    """Follows no redirect: body and credentials go to the host that was named. The answer that redirects is the answer."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """As requests does; credentials that cannot be had fail with an error of both kinds."""
        try:
            return super().prepare_request(request)
        except RagError as error:
            raise both(error, requests.RequestException()) from None


def open_session(cfg: SearchCfg, policy: NetworkPolicy) -> requests.Session:
    """A session with the credentials of `[search]`, reading nothing from the environment."""
    session = SearchSession()
    session.trust_env = False
    session.headers["User-Agent"] = "founders-rag"
    if cfg.use_aws_auth:
        from .aws.credentials import PATIENCE
        from .aws.signing import aws_credentials

        session.auth = SigV4Auth(aws_credentials(cfg, policy), cfg.aws_service, cfg.timeout_s * PATIENCE)
    elif (secret := secret_of(cfg)) is not None:
        session.auth = SecretAuth(cfg, secret)
    adapter = SearchAdapter(policy, (cfg.connect_timeout_s, cfg.timeout_s), total_s=cfg.timeout_s, pool_size=cfg.pool_size)
    adapter.credential = credential_setting(cfg)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
