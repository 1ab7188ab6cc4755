"""Where AWS credentials come from: botocore's chain, with all it sends under the outbound policy. Blocks: call it in a thread.

The chain is AWS's own, in its order: environment, role of the profile, web identity, SSO, credentials file, `aws login`,
credential process, configuration file, container, instance; with `[search] aws_profile` without the environment. It reads ``AWS_*`` variables
and ``~/.aws``, which is the listed exception from "the environment is not read". Nothing else of the environment counts:
``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE`` and ``AWS_CA_BUNDLE`` change nothing here.

Each call builds the chain anew, so that what has changed in its files counts: 5 to 12 ms, and 100 more where a service is asked.
The metadata services of instance and container are link-local and always asked directly: a proxy would answer with its own.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from ...errors import (
    ConfigurationError,
    MissingExtraError,
    RagError,
    ServiceCredentialsError,
)
from ..hops import Hop, answer_error, error_of, foreign
from ..network.faults import fault_of
from ..search_session import PolicyAdapter
from .credentials import AwsKeys

if TYPE_CHECKING:
    from ..config import SearchCfg
    from ..network import NetworkPolicy

SHARE = 0.5
"""Of `[search] timeout_s`, for all calls of AWS together: what failed is then told before those who wait have lost their patience, libraries
loaded and repeats included."""
EXTRA_HINT = "Install it with: pip install 'founders-rag[aws]'"
ROLE_SESSION = "founders-rag"
_HOST_REGION = re.compile(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.(?:es|aoss)\.amazonaws\.com(?:\.cn)?(?::\d+)?/?$")
_PLACES = {
    "env": "the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    "assume-role": "a role of the profile",
    "assume-role-with-web-identity": "a web identity token",
    "sso": "SSO",
    "shared-credentials-file": "{credentials}",
    "login": "`aws login`",
    "custom-process": "a credential process",
    "config-file": "{config}",
    "container-role": "the container's endpoint",
    "iam-role": "the instance's metadata service",
}
"""Providers of the chain, in words; those of ages past (boto 2, the first EC2 tools) are left out."""
_BUSY = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException")


def load_keys(cfg: SearchCfg, network: NetworkPolicy, clock: Callable[[], float]) -> AwsKeys:
    """Credentials and region for `[search]`.

    Raises:
        MissingExtraError: botocore is not installed.
        ConfigurationError: no region, no credentials, an unknown profile, files that cannot be read.
        ServiceCredentialsError: AWS refuses to give credentials.
        ServiceUnavailableError: AWS cannot be reached.
    """
    try:
        import botocore.session
    except ImportError:
        raise MissingExtraError("Signing for AWS needs the extra `aws`, which is not installed.", setting="search.use_aws_auth", hint=EXTRA_HINT) from None
    hush()
    calls, metadata = Sender(network, cfg.connect_timeout_s, cfg.timeout_s, total_s=cfg.timeout_s * SHARE), None
    try:
        session = botocore.session.Session(profile=cfg.aws_profile)
        region = region_of(cfg, session.get_config_variable("region"))
        session.set_config_variable("region", region)
        patience = float(session.get_config_variable("metadata_service_timeout"))
        metadata = Sender(network, patience, patience, proxied=False)
        _put_under_policy(session, calls, metadata)
        found = session.get_credentials()
        if found is None:
            raise _nothing_found(session)
        if cfg.aws_role_arn:
            return _assume(session, cfg.aws_role_arn, region, clock(), calls)
        keys = found.get_frozen_credentials()
        # Private, and the only place that tells; keys that live for ever have none.
        expires = getattr(found, "_expiry_time", None)
        return AwsKeys(keys.access_key, keys.secret_key, keys.token, region, clock(), expires.timestamp() if expires else None)
    except RagError as error:
        raise error.with_traceback(None) from None  # botocore's frames lie between, and hold requests with their tokens
    except Exception as error:  # noqa: BLE001 - the chain runs other people's files, processes and servers; all of it is told in our terms
        raise _explained(error, cfg, calls.last) from None  # not chained: botocore's own text may repeat what a credential process wrote
    finally:
        calls.close()
        if metadata:
            metadata.close()


def region_of(cfg: SearchCfg, of_profile: str | None) -> str:
    """The region to sign for: the configured one, that of an AWS host name, that of the profile.

    Raises:
        ConfigurationError: none is known.
    """
    of_host = _HOST_REGION.search((cfg.host or "").split(",")[0].strip().lower())
    region = cfg.aws_region or (of_host[1] if of_host else None) or of_profile
    if not region:
        raise ConfigurationError(
            "No AWS region is known.",
            setting="search.aws_region",
            hint="Set it, such as eu-west-1; the AWS profile and the name of the host hold none.",
        )
    return region


def hush() -> None:
    """At level DEBUG these loggers of botocore write answers whole, secret keys included, and session tokens among what is signed: never."""
    for name in ("botocore.parsers", "botocore.endpoint", "botocore.auth"):
        logger = logging.getLogger(name)
        if _above_debug not in logger.filters:
            logger.addFilter(_above_debug)


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def _put_under_policy(session: Any, calls: Sender, metadata: Sender) -> None:
    from botocore.config import Config

    session.set_default_client_config(Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 3}))
    # Whoever answers this event sends the request instead of botocore: STS, SSO and sign-in alike.
    session.register("before-send", calls.answer)
    chain = session.get_component("credential_provider")
    for provider, holder in (("iam-role", "_role_fetcher"), ("container-role", "_fetcher")):
        # Private, but botocore offers no other way to keep the environment's proxies from the metadata service.
        getattr(chain.get_provider(provider), holder)._session = metadata  # noqa: SLF001 - see above


def _assume(session: Any, role: str, region: str, now: float, calls: Sender) -> AwsKeys:
    client = session.create_client("sts", region_name=region)
    answer: Mapping[str, Any] = client.assume_role(RoleArn=role, RoleSessionName=ROLE_SESSION)
    if "Credentials" not in answer:  # botocore takes any page with status 200 for an answer
        raise foreign(calls.last, "no credentials")
    keys: Mapping[str, Any] = answer["Credentials"]
    return AwsKeys(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region, now, keys["Expiration"].timestamp())


def _nothing_found(session: Any) -> ConfigurationError:
    profile = session.get_config_variable("profile") or "default"
    files = {name: session.get_config_variable(f"{name}_file") for name in ("credentials", "config")}
    asked = [provider.METHOD for provider in session.get_component("credential_provider").providers]
    places = ", ".join(_PLACES[method].format_map(files) for method in asked if method in _PLACES)
    return ConfigurationError(
        f"No AWS credentials were found. Looked, for the profile {profile!r}, in: {places}.",
        setting="search.aws_profile",
        hint="Name a profile that has some, log in, or give this machine a role; see `aws configure` and `aws sts get-caller-identity`.",
    )


class Sender:
    """Sends what botocore prepared, under the policy, and answers in botocore's terms.

    Args:
        total_s: seconds for all that is sent; None where each call has its own alone.
        hop: of an address, for errors.
    """

    def __init__(
        self,
        network: NetworkPolicy,
        connect_s: float,
        read_s: float,
        *,
        total_s: float | None = None,
        proxied: bool = True,
        hop: Callable[[str], Hop] | None = None,
    ) -> None:
        self._total_s = total_s
        self._ends: float | None = None
        self._failure: Exception | None = None
        self._network = network
        self._limits = (connect_s, read_s)
        self._proxied = proxied
        self._hop = hop or _hop
        self.last = Hop("AWS", "AWS", "network.proxy")
        """The way of the last call, for errors."""
        self._session: requests.Session | None = None

    def answer(self, request: Any, **_: Any) -> Any:
        return self.send(request)

    def send(self, request: Any) -> Any:
        """Like botocore's `URLLib3Session.send`."""
        now = time.monotonic()
        if self._ends is None:  # from the first call on: what comes before it, loading libraries, is no fault of the way
            self._ends = now + (float("inf") if self._total_s is None else self._total_s)
        if self._failure is not None and self._total_s is not None and self._ends - now < min(self._limits[0], self._total_s / 4):
            raise self._failure  # no time for another attempt: it would only seem that the connection takes too long
        self.last = self._way(request.url)
        try:
            return self._sent(request)
        except Exception as error:
            self._failure = error
            raise

    def _sent(self, request: Any) -> Any:
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

        hop = self.last.address
        try:
            answer = self._opened().request(
                request.method, request.url, headers=dict(request.headers.items()), data=request.body, allow_redirects=False, stream=True
            )
            found = AWSResponse(answer.url, answer.status_code, answer.headers, answer.raw)
            len(found.content)  # read here, where what goes wrong is translated
            if found.status_code == 407 or 300 <= found.status_code < 400:  # of what lies between: botocore would look for AWS's words in it
                raise answer_error(found.status_code, self.last) or foreign(self.last, f"HTTP {found.status_code}")
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise error_of(fault_of(error), self.last) from None
        except requests.exceptions.ConnectTimeout as error:
            raise ConnectTimeoutError(endpoint_url=hop, error=error) from None
        except requests.exceptions.ReadTimeout as error:
            raise ReadTimeoutError(endpoint_url=hop, error=error) from None
        except requests.exceptions.ConnectionError as error:
            raise EndpointConnectionError(endpoint_url=hop, error=error) from None
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:  # the body is read past requests: its errors are urllib3's
            raise ConnectionClosedError(endpoint_url=hop, error=error) from None
        return found

    def _way(self, url: str) -> Hop:
        parts = urlsplit(url)
        return self._hop(url).through(self._network.proxy_for(parts.hostname or "", parts.port, parts.scheme) if self._proxied else None)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _opened(self) -> requests.Session:
        if self._session is None:  # late: most credentials need no call, and a TLS context takes 17 to 88 ms
            self._session = requests.Session()
            self._session.trust_env = False
            self._session.headers.clear()
            adapter = _Adapter(self._network, self._limits, lambda: self._ends or float("inf"), proxied=self._proxied)
            self._session.mount("https://", adapter)
            self._session.mount("http://", adapter)
        return self._session


class _Adapter(PolicyAdapter):
    """Sends within what is left of the time for all calls, so that an error comes before those who wait for it have gone."""

    def __init__(self, network: NetworkPolicy, limits: tuple[float, float], ends: Callable[[], float], *, proxied: bool) -> None:
        self._ends = ends
        super().__init__(network, limits, total_s=limits[1], proxied=proxied)

    def _seconds(self, timeout: Any) -> float:
        return max(0.001, min(super()._seconds(timeout), self._ends() - time.monotonic()))

    def _phases(self, timeout: Any) -> Any:
        left, (connect_s, read_s) = self._seconds(timeout), self._timeouts
        return (min(connect_s, left), min(read_s, left))


def _address(url: str) -> str:
    return "/".join(url.split("/")[:3])


def _hop(url: str) -> Hop:
    # No key holds AWS's addresses, they follow from the region; where none can be reached, the way out is what is missing.
    limits = ("search.timeout_s", "search.connect_timeout_s")
    return Hop("AWS", _address(url), "search.aws_region", *limits, reach_setting="network.proxy", repeats_setting="search.timeout_s")


def _explained(error: Exception, cfg: SearchCfg, hop: Hop) -> RagError:
    """botocore's error in our terms. Where its text may repeat what a process or server wrote, it is left out."""
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError

    details: Mapping[str, Any] = getattr(error, "kwargs", {})
    if isinstance(error, aws.ClientError):
        return _refused(error, cfg, hop)
    if isinstance(error, (ResponseParserError, KeyError)):  # an answer that is not what AWS writes, or that broke off
        return foreign(hop, "not in AWS's form")
    if isinstance(error, (aws.HTTPClientError, aws.ConnectionError)):
        return error_of(fault_of(error), hop)
    if isinstance(error, (aws.CredentialRetrievalError, aws.MetadataRetrievalError)):
        provider = details.get("provider") or "container or instance metadata"
        return ServiceCredentialsError(f"AWS credentials could not be had from {provider}.", setting="search.aws_profile", hint="Try `aws configure list`.")
    if isinstance(error, (aws.SSOError, aws.TokenRetrievalError, aws.NoAuthTokenError, aws.LoginError)):
        return ServiceCredentialsError("The AWS sign-in of the profile has expired.", setting="search.aws_profile", hint="Log in again with `aws sso login`.")
    if isinstance(error, (aws.ProfileNotFound, aws.ConfigParseError, aws.ConfigNotFound, aws.PartialCredentialsError, aws.InvalidConfigError)):
        return ConfigurationError(f"The AWS configuration cannot be used: {str(error).rstrip('.')}.", setting="search.aws_profile")
    if isinstance(error, (aws.InvalidRegionError, aws.ParamValidationError)):
        setting = "search.aws_region" if isinstance(error, aws.InvalidRegionError) else "search.aws_role_arn"
        return ConfigurationError("AWS does not know such a region or role.", setting=setting, hint="Regions look like eu-west-1, roles like arn:aws:iam::…")
    return ConfigurationError(
        f"The AWS credentials cannot be used ({type(error).__name__}).", setting="search.aws_profile", hint="Try `aws sts get-caller-identity`."
    )


def _refused(error: Any, cfg: SearchCfg, hop: Hop) -> RagError:
    """STS, SSO or sign-in said no."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = str(error.response.get("Error", {}).get("Message", ""))[:300].rstrip(".")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    what = f"AWS refused {error.operation_name} ({code}){f': {said}' if said else ''}."
    general = answer_error(429 if code in _BUSY else status, hop)
    if general is not None:
        return general
    if not code:
        return foreign(hop, f"HTTP {status}, not in AWS's form")
    hint = "Check the clock of this machine." if "expired" in said and "ignature" in said else "Check the credentials, and the role's trust policy."
    setting = "search.aws_role_arn" if cfg.aws_role_arn else "search.aws_profile"
    return ServiceCredentialsError(what, hop=hop.address, proxy=hop.proxy, setting=setting, hint=hint)
