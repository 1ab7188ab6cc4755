"""From `[azure]` to tokens: asks the configured kinds of identity in order, again where that may help, within one deadline."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, IdentityError, MissingExtraError, RagError
from ...telemetry.logger import get_logger
from ..resilience.retry import MAX_RETRY_AFTER_S, delay, retry_after
from ..secrets.live import LiveSecret, renewed_blocking
from .certificates import PATH, read_certificate
from .exchange import address
from .failures import Failure, failure_of
from .kinds import KINDS, Kind, authority_of, kind_names
from .tokens import HeldError, Token, TokenProvider

if TYPE_CHECKING:
    from ..config import AzureCfg
    from ..network import NetworkPolicy
    from .transport import IdentitySession

log = get_logger(__name__)

_TELLTALES = (
    "azure.identity._internal.get_token_mixin",
    "azure.identity._internal.decorators",
    "msal.application",
    "msal.authority",
    "msal.managed_identity",
    "msal.oauth2cli.oauth2",
    "msal.oauth2cli.oidc",
)
"""Loggers that repeat bodies of answers."""
ATTEMPTS = 3
FAILURE_PAUSE_S = 5.0
"""So long nobody is asked again after a refusal or an outage; who has no token meanwhile gets the same error at once."""
BACKOFF_BASE_S, BACKOFF_CAP_S = 0.5, 4.0


class Identity:
    """Fetches tokens of one `[azure]` section; one fetch at a time (`TokenProvider` sees to that).

    Each fetch has a credential of its own on a session that stays: a reused credential answers from its own cache, also
    after a token was refused, and never reads a rotated certificate.
    """

    def __init__(self, cfg: AzureCfg, policy: NetworkPolicy, pause: Callable[[float], None] | None = None) -> None:
        self._cfg = cfg
        self._policy = policy
        self._stop = threading.Event()
        self._pause = pause or self._wait
        self._sessions: dict[bool, IdentitySession] = {}
        self._pid = 0

    def __call__(self) -> Token:
        """A new token.

        Raises:
            RagError: as `TokenProvider` lists them.
            HeldError: the same, where the service says how long to wait.
        """
        kinds = [KINDS[name] for name in kind_names(self._cfg)]
        deadline = time.monotonic() + self._cfg.timeout_s
        secret = self._cfg.client_secret
        used = secret.get_secret_value() if isinstance(secret, LiveSecret) else ""
        outcome = self._ask_kinds(kinds, deadline)
        refused = isinstance(outcome, Failure) and outcome.error.setting == "azure.client_secret" and isinstance(outcome.error, IdentityError)
        if refused and used and secret is not None and renewed_blocking(secret, used):
            outcome = self._ask_kinds(kinds, deadline)
        del used  # some show the local variables of an error's frames
        if isinstance(outcome, Token):
            return outcome
        after = retry_after(outcome.retry_after, time.time()) or (FAILURE_PAUSE_S if outcome.asked else 0.0)
        if after:
            raise HeldError(outcome.error, min(after, MAX_RETRY_AFTER_S))
        raise outcome.error

    def close(self) -> None:
        self._stop.set()
        for session in self._sessions.values():
            session.close()

    def _ask_kinds(self, kinds: Sequence[Kind], deadline: float) -> Token | Failure:
        return self._ask(kinds[0], deadline) if len(kinds) == 1 else self._ask_chain(kinds, deadline)

    def _ask_chain(self, kinds: Sequence[Kind], deadline: float) -> Token | Failure:
        absent: list[str] = []
        for place, kind in enumerate(kinds):
            unmet = kind.unmet(self._cfg)
            if unmet:
                absent.append(f"{kind.name} ({', '.join(unmet)} not set)")
                continue
            # What is silent because it is not there leaves the others their time; after all else that fails, the chain ends.
            now = time.monotonic()
            outcome = self._ask(kind, now + (deadline - now) / (len(kinds) - place) if kind.local else deadline)
            if isinstance(outcome, Token) or not outcome.absent:
                return outcome
            log.info("an identity of the chain is not to be had here", kind=kind.name)
            absent.append(kind.name)
        text = f"None of the chain's identities is to be had here: {', '.join(absent)}."
        return Failure(IdentityError(text, setting="azure.chain", hint="Configure one of them, or name another."))

    def _ask(self, kind: Kind, deadline: float) -> Token | Failure:
        for attempt in range(1, ATTEMPTS + 1):
            outcome = self._ask_once(kind, deadline)
            if isinstance(outcome, Token) or not outcome.again or attempt == ATTEMPTS:
                break
            wait = delay(attempt, random.random, base_s=BACKOFF_BASE_S, cap_s=BACKOFF_CAP_S)
            wait = max(wait, retry_after(outcome.retry_after, time.time()) or 0.0)
            if wait >= deadline - time.monotonic() or self._stop.is_set():
                break
            self._pause(wait)
        return outcome

    def _ask_once(self, kind: Kind, deadline: float) -> Token | Failure:
        """Errors are returned, not raised from within ``except``: none keeps azure-identity's, which hold requests, as its context."""
        session: IdentitySession | None = None
        failure: Failure | None = None
        try:
            kind.check(self._cfg)
            session = self._session(kind.local)
            transport = session.begin(deadline)
            now = time.time()
            info = kind.open(self._cfg, transport, deadline - time.monotonic()).get_token_info(self._cfg.scope)
            token: object = info.token  # azure-identity hands on whatever JSON held
            if isinstance(token, str) and token:
                return Token.issued(token, now, float(info.expires_on), refresh_on=info.refresh_on, kind=kind.name)
        except RagError as error:
            failure = Failure(error.with_traceback(None))  # frames of azure-identity and MSAL lie between, and hold what proves who we are
        except Exception as error:  # noqa: BLE001 - azure-identity wraps everything in everything; what happened stands in the session
            log.debug("azure-identity gave no token", kind=kind.name, error=type(error).__name__)
        return failure or failure_of(session.last, kind) if session else failure or Failure(kind.missing())

    def _session(self, local: bool) -> IdentitySession:
        if self._pid != os.getpid():  # a fork: its one connection may be in use there
            self._pid, self._sessions = os.getpid(), {}
        if local not in self._sessions:
            if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.identity") is None:
                hint = "Install founders-rag[azure]."
                raise MissingExtraError("Entra ID identities need the optional packages of `azure`.", setting="azure.credential", hint=hint)
            from .transport import IdentitySession

            quiet()
            self._sessions[local] = IdentitySession(self._policy, self._cfg.timeout_s / ATTEMPTS, local=local)
        return self._sessions[local]

    def _wait(self, seconds: float) -> None:
        self._stop.wait(seconds)


def quiet() -> None:
    """These libraries log what servers wrote, MSAL whole bodies at ERROR, and our errors tell it better. A level that was set for them
    stays, but what tells of failed tokens says nothing at any level: a gateway may repeat the request, client secret included."""
    for name in ("azure", "msal"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
    for name in _TELLTALES:
        logger = logging.getLogger(name)
        if _nothing not in logger.filters:
            logger.addFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


class AzureTokens(TokenProvider):
    """The tokens of one `[azure]` section: see `TokenProvider`."""

    def __init__(self, cfg: AzureCfg, policy: NetworkPolicy) -> None:
        self._identity = Identity(cfg, policy)
        self._azure = cfg
        super().__init__(self._identity, timeout_s=cfg.timeout_s, hop=_hop(cfg), setting="azure.timeout_s")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are tried, in order."""
        return kind_names(self._azure)

    def close(self) -> None:
        super().close()
        self._identity.close()

    def check_certificate(self, now: datetime | None = None) -> None:
        """Read the certificate's file, where one is used, and raise what health should tell.

        Raises:
            ConfigurationError: it cannot be used, or expires within 30 days.
        """
        if self._azure.certificate_path is None or "certificate" not in self.kinds:
            return
        warning = read_certificate(self._azure.certificate_path, self._azure.certificate_password).warning(now or datetime.now(UTC))
        if warning:
            raise ConfigurationError(warning, setting=PATH, hint="Put a new one into the same file; it is read anew with each token.")


def _hop(cfg: AzureCfg) -> str:
    """The authority, for messages; empty where it is not usable, which the first fetch tells."""
    try:
        return address(authority_of(cfg))
    except ConfigurationError:
        return ""


def make_token_provider(cfg: AzureCfg, policy: NetworkPolicy) -> AzureTokens | None:
    """The tokens that `[azure]` means; None where it configures no identity. Reads and connects nothing yet."""
    return AzureTokens(cfg, policy) if kind_names(cfg) else None
