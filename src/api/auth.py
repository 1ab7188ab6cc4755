"""Who asks: one `Identity` for each request, and who may ask at all.

Bearer tokens are random (256 bits), so a plain SHA-256 of them can be stored: there is nothing to guess, and no slow hash
is needed. Comparisons take the same time whatever is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ..core.identity import DEFAULT_TENANT, Identity, current_identity
from ..errors import AuthenticationError, ConfigurationError, PermissionDeniedError, RagError, ServiceUnavailableError
from ..infra.config import ApiCfg, Settings
from ..infra.persistence.user_context import LOCAL_USER
from ..infra.secrets.health import PATIENCE_S
from ..infra.secrets.live import current, in_force, renewed
from ..telemetry.logger import get_logger
from .problems import ChallengeError, problem, respond, respond_to

log = get_logger(__name__)

TOKEN_USER = "api"  # noqa: S105 - a user's name, not a token
"""Whom the single `[api] token` stands for."""

PUBLIC_PREFIXES = ("/static/", "/health")
METRICS_PATH = "/metrics"
"""Asks for a token of its own."""
PUBLIC_PATHS = ("/", "/admin", "/docs", "/openapi.json", "/favicon.ico", METRICS_PATH)
ALIVE_PATH = "/health/live"
"""Answers whatever else does not: who asks is not even looked at, for the token may lie in a vault that hangs."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


OnRefused = Callable[[Scope, RagError], Awaitable[None]]
"""Hears of everybody who was turned away."""


class Authenticator(Protocol):
    """Makes the identity of a request. Further implementations (JWT, OIDC, client certificates) are further classes."""

    async def identify(self, connection: HTTPConnection) -> Identity:
        """The caller.

        Raises:
            AuthenticationError: without usable credentials; a `ChallengeError` also says which are.
        """
        ...


class LocalUser:
    """`auth = none`: whoever reaches the loopback address is the local user, as on the command line."""

    def __init__(self, user: str = LOCAL_USER) -> None:
        self._identity = Identity(user)

    async def identify(self, connection: HTTPConnection) -> Identity:
        return self._identity


class TokenEntry(BaseModel):
    """One identity of the tokens file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1)
    tenant: str = Field(DEFAULT_TENANT, min_length=1)
    groups: tuple[str, ...] = ()

    def identity(self) -> Identity:
        return Identity(self.user, self.tenant, self.groups)


_TOKENS = TypeAdapter(dict[str, TokenEntry])


def hash_token(token: str) -> str:
    """SHA-256 (hex) of a token, as the tokens file keeps it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def read_tokens(path: Path) -> dict[str, Identity]:
    """The tokens file: a JSON object from token hash to ``{"user", "tenant", "groups"}``.

    Raises:
        ConfigurationError: it is missing, not readable, or not of that shape.
    """
    setting = "api.tokens_file"
    try:
        entries = _TOKENS.validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"The tokens file {path} cannot be read: {error.strerror}.", setting=setting, hint="`rag token create --user NAME` makes one."
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:12] for part in first["loc"]) or "the whole file"
        raise ConfigurationError(f"The tokens file {path} is not usable: {place}: {first['msg']}.", setting=setting) from None
    wrong = [key for key in entries if len(key) != 64 or any(digit not in "0123456789abcdef" for digit in key)]
    if wrong:
        raise ConfigurationError(
            f"The tokens file {path} has a key that is not a SHA-256 in lower-case hex.", setting=setting, hint="It holds hashes, never tokens."
        )
    return {key: entry.identity() for key, entry in entries.items()}


class BearerTokens:
    """`auth = tokens`: bearer tokens, looked up by hash in the tokens file, which is read again whenever it changes.

    A file that is gone or broken later leaves the tokens last read in force; to end them all, write ``{}``.

    Args:
        tokens_file: hashes and identities; None leaves the single token.
        token: one token of the user `api`, as it is at that time: where it comes from a vault, one beyond its time is read again before
            it counts, and a token that is not known makes the vault be asked, at most once in five seconds.
    """

    def __init__(self, tokens_file: Path | None, token: SecretStr | str | None = None) -> None:
        self._path = tokens_file
        self._token = SecretStr(token) if isinstance(token, str) else token
        self._known: Mapping[str, Identity] = {}
        self._version: tuple[int, int, int] | None = None
        self._complaint = ""

    def load(self) -> None:
        """Read the file if it changed since.

        Raises:
            ConfigurationError: it cannot be used.
        """
        if self._path is None:
            return
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            version = None
        if version is None or version != self._version:
            self._known, self._version = read_tokens(self._path), version

    def _refresh(self) -> None:
        """Read the file if it changed. One that broke while the server runs is the operator's to know, not the caller's:
        it is logged, and what was last read of it holds.

        Raises:
            ServiceUnavailableError: it was never read.
        """
        try:
            self.load()
            self._complaint = ""
        except ConfigurationError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("the tokens file cannot be used; the tokens last read from it still hold", detail=str(error))
            if self._version is None:
                raise ServiceUnavailableError("Nobody can sign in at present.") from None

    async def identify(self, connection: HTTPConnection) -> Identity:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ChallengeError("A bearer token is needed.", challenge='Bearer realm="rag"', hint="Send Authorization: Bearer TOKEN.")
        self._refresh()
        given = hash_token(token.strip())
        found: Identity | None = None
        for known, identity in self._known.items():  # all of them, so that time tells nothing
            if hmac.compare_digest(known, given):
                found = identity
        if found is None and self._token and await self._is_single(self._token, given):  # asked last: its vault may be away
            found = Identity(TOKEN_USER)
        if found is None:
            raise ChallengeError("The bearer token is not known.", challenge='Bearer realm="rag", error="invalid_token"')
        return found

    async def _is_single(self, token: SecretStr, given: str) -> bool:
        """Whether it is the hash of the single token.

        Raises:
            ServiceUnavailableError: that cannot be read; the reason is the operator's to know, and logged.
        """
        try:
            value = await in_force(token, PATIENCE_S)
            if hmac.compare_digest(hash_token(value), given):
                return True
            return await renewed(token, value, PATIENCE_S) and hmac.compare_digest(hash_token(await current(token)), given)
        except RagError as error:
            log.error("the API's token cannot be read; callers without an entry in the tokens file are turned away", detail=str(error))
            raise ServiceUnavailableError("Nobody can sign in at present.") from None


def make_authenticator(settings: Settings) -> Authenticator:
    """The authenticator that `[api]` asks for.

    Raises:
        ConfigurationError: there is nothing to check tokens against, or a token is set that nobody would check.
    """
    cfg = settings.api
    token = cfg.token or None
    if cfg.auth == "none":
        if token:
            raise ConfigurationError(
                "A token is set, but nobody would check it.", setting="api.auth", hint="Set `auth = tokens` in [api], or remove the token."
            )
        return LocalUser(settings.environment.jpmc_user_sid or LOCAL_USER)
    if not token and cfg.tokens_file is None:
        raise ConfigurationError(
            "`auth = tokens` needs tokens to check.", setting="api.tokens_file", hint="Name a file there and run `rag token create --user NAME`."
        )
    tokens = BearerTokens(cfg.tokens_file, token)
    tokens.load()
    return tokens


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_bind_address(cfg: ApiCfg) -> None:
    """Refuse to serve without authentication where others could reach it.

    Raises:
        ConfigurationError: `auth = none` on an address that is not loopback.
    """
    if cfg.auth == "none" and not is_loopback(cfg.host):
        raise ConfigurationError(
            f"api.host = {cfg.host} can be reached by others, but api.auth = none lets everybody in.",
            setting="api.host",
            hint="Use 127.0.0.1, or set api.auth = tokens and create one with `rag token create --user NAME`.",
        )


def host_of(authority: str) -> str:
    """The host of ``host:port``; empty where it is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


class LocalOnly:
    """With `auth = none`: turns away what a browser was tricked into sending to this machine.

    A page elsewhere can point its own name at 127.0.0.1 (DNS rebinding: the Host header betrays it), or post across origins
    (the Origin header betrays it).
    """

    def __init__(self, app: ASGIApp, allowed_origins: tuple[str, ...] = ()) -> None:
        self.app = app
        self.allowed_origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_loopback(host_of(host)):
            body = problem(421, "misdirected", "This server answers to localhost only.", scope, hint="Open it as http://127.0.0.1, or set api.auth = tokens.")
            await respond(body)(scope, receive, send)
        elif scope.get("method") not in SAFE_METHODS and not self._same_origin(headers.get("origin"), host):
            error = PermissionDeniedError("Another site's page may not send this.", setting="api.cors_origins", hint="List its origin there to allow it.")
            await respond_to(error, scope)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _same_origin(self, origin: str | None, host: str) -> bool:
        """No Origin header means no browser page sent it."""
        if origin is None or origin in self.allowed_origins:
            return True
        try:
            return origin.startswith(("http://", "https://")) and urlsplit(origin).netloc == host
        except ValueError:  # no URL at all, such as `http://[`
            return False


class RequireIdentity:
    """Sets `current_identity` for the request, or answers 401. Everything that is not listed as public is private."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, on_refused: OnRefused | None = None) -> None:
        self.app = app
        self.authenticator = authenticator
        self.on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        public = path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)
        identity: Identity | None = None
        try:
            if path != ALIVE_PATH:
                identity = await self.authenticator.identify(HTTPConnection(scope))
        except RagError as error:
            if not public:
                if self.on_refused is not None:
                    await self.on_refused(scope, error)
                await respond_to(error, scope)(scope, receive, send)
                return
        token = current_identity.set(identity)
        scope.setdefault("state", {})["identity"] = identity  # for the access log, which is written outside of this
        try:
            await self.app(scope, receive, send)
        finally:
            current_identity.reset(token)


def caller() -> Identity:
    """The identity of the running request.

    Raises:
        AuthenticationError: there is none, which only a public path can have.
    """
    identity = current_identity.get()
    if identity is None:
        raise AuthenticationError("Nobody is signed in.")
    return identity


def dump_tokens(entries: Mapping[str, Identity]) -> str:
    """The text of a tokens file."""
    shape = {key: {"user": who.user, "tenant": who.tenant, "groups": list(who.groups)} for key, who in entries.items()}
    return json.dumps(shape, indent=2, ensure_ascii=False) + "\n"
