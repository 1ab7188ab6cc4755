"""AWS SigV4: who signs a request to OpenSearch, and how.

What is signed is host, content type, every ``x-amz-`` header and the hash of the body; no other header, because proxies and
load balancers change those. ``x-amz-content-sha256`` is always sent: OpenSearch Serverless (``aoss``) demands it, managed domains (``es``) take it.
Credentials and region: `chain`. When they are renewed: `credentials`. Importing this module loads no AWS library.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from ...errors import RagError
from ...telemetry.logger import get_logger
from .credentials import PATIENCE, AwsCredentials, AwsKeys, late

if TYPE_CHECKING:
    from ..config import SearchCfg
    from ..network import NetworkPolicy

log = get_logger(__name__)

LARGE_BODY = 256 * 1024
"""Bodies beyond this are hashed off the event loop: 8 MB take 5 to 25 ms."""
REFUSED = re.compile(rb"security token included in the request is (?:expired|invalid)", re.IGNORECASE)
"""How AWS says, with a 403, that a credential is no longer good: revoked, switched off, or over before its time. Not matched, for
new credentials would not help: a wrong clock, region or signature, and a missing permission."""
_SIGNED_WITH = re.compile(r"Credential=([^/,\s]+)/")
_ADDED = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")


class Signer(Protocol):
    """Adds what proves who sends a request. Called for each attempt; shared between tasks, threads and event loops."""

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers to add to exactly this request.

        Args:
            method: In capitals.
            url: As it is sent, host and query included, already percent-encoded.
            headers: Those of the request so far; names in any case.
            body: The bytes as they are sent; empty where there is none.

        Returns:
            Headers to set beside the ones given, replacing any of the same name.

        Raises:
            ConfigurationError: there is no credential, or a key such as the region is missing.
            MissingExtraError: the optional package is not installed.
        """
        ...

    async def renewed(self, headers: Mapping[str, str], answer: bytes) -> bool:
        """Whether to sign and send once more a request that the server refused.

        Args:
            headers: as `headers` returned them for that request.
            answer: the body of the refusal.
        """
        ...


class SigV4Signer:
    """Signs with the credentials that `[search]` names: profile, role, or AWS's own chain. Asks for them with the first request.

    Args:
        network: proxy, authorities and client certificate of the calls to AWS.
        clock: seconds since 1970, for when credentials are renewed; the date of a signature is always the machine's.
    """

    def __init__(self, cfg: SearchCfg, network: NetworkPolicy, *, clock: Callable[[], float] = time.time) -> None:
        self._service = cfg.aws_service
        self._patience_s = cfg.timeout_s * PATIENCE
        self._credentials = aws_credentials(cfg, network, clock=clock)
        self._loaded = False

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """See `Signer`.

        Raises:
            ConfigurationError: no region, no credentials, an unknown profile; says where they were looked for.
            MissingExtraError: the extra ``aws`` is not installed.
            ServiceCredentialsError: AWS refuses the role, or the credentials that it should be assumed with.
            ServiceUnavailableError: AWS cannot be reached to get credentials, or takes too long.
        """
        if not self._loaded:  # 0.3 s of processor time, and several on a machine that is busy: AWS is not waited for meanwhile
            await asyncio.to_thread(_load_libraries)
            self._loaded = True
        try:
            async with asyncio.timeout(self._patience_s):
                keys = await self._credentials.get()
        except TimeoutError:
            raise late(self._patience_s) from None
        digest = await asyncio.to_thread(_sha256, body) if len(body) > LARGE_BODY else _sha256(body)
        return signature(keys, self._service, method, url, headers, digest)

    async def renewed(self, headers: Mapping[str, str], answer: bytes) -> bool:
        """Where the credential was refused: whether AWS gives another, asked once in a while. See `Signer`."""
        access_key = refused_key(headers, answer)
        if access_key is None:
            return False
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._credentials.renew(access_key)
        except (TimeoutError, RagError) as error:
            _tell(error)
            return False


def _load_libraries() -> None:
    with suppress(ImportError):  # `load_keys` says what is missing
        import botocore.auth
        import botocore.session  # noqa: F401 - for those who use it from here on


def refused_key(headers: Mapping[str, str], answer: bytes) -> str | None:
    """The access key of a signed request whose 403 says that its credential is no longer good; None where it says anything else.

    Args:
        headers: of the request, with ``authorization`` in lower case unless the mapping takes any.
        answer: body of the 403.
    """
    signed = _SIGNED_WITH.search(headers.get("authorization", ""))
    return signed[1] if signed is not None and REFUSED.search(answer) else None


def _tell(error: Exception) -> None:
    reason = error.message if isinstance(error, RagError) else type(error).__name__
    log.warning("OpenSearch refused the AWS credential, and no other could be had", reason=reason)


def make_signer(cfg: SearchCfg, network: NetworkPolicy) -> Signer | None:
    """The signer that `[search]` asks for; None without `use_aws_auth`. Connects to nothing."""
    return SigV4Signer(cfg, network) if cfg.use_aws_auth else None


def aws_credentials(cfg: SearchCfg, network: NetworkPolicy, *, clock: Callable[[], float] = time.time) -> AwsCredentials:
    """The credentials of `[search]`, read with the first use and renewed from then on."""

    def load() -> AwsKeys:
        from .chain import load_keys

        return load_keys(cfg, network, clock)

    return AwsCredentials(load, clock=clock)


def signature(keys: AwsKeys, service: str, method: str, url: str, headers: Mapping[str, str], body_sha256: str) -> dict[str, str]:
    """The headers of SigV4 for one request, dated now. 50 to 150 µs."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    given = {name.lower(): value for name, value in headers.items()}
    signed = {name: value for name, value in given.items() if name in ("host", "content-type") or (name.startswith("x-amz-") and name not in _ADDED)}
    request = AWSRequest(method=method, url=_canonical(url), headers=signed | {"x-amz-content-sha256": body_sha256})
    SigV4Auth(ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token), service, keys.region).add_auth(request)
    return {name: value for name in _ADDED if (value := request.headers.get(name)) is not None}


def _canonical(url: str) -> str:
    """The address with its query as AWS reads it: decoded and encoded again, strictly. botocore leaves that to its caller.

    Without it a list such as ``a,b`` in a query, which need not be encoded on the way, fails the check.
    """
    parts = urlsplit(url)
    if not parts.query:
        return url
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    query = "&".join(f"{_strict(name)}={_strict(value)}" for name, _, value in pairs)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _strict(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
