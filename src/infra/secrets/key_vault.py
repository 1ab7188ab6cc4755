"""Azure Key Vault: azure-keyvault-secrets under the `[azure]` identity and the outbound policy.

The vault's challenge says which scope its tokens need, so sovereign clouds need no setting; the library takes only a scope that the
vault's own address belongs to.
"""

from __future__ import annotations

import importlib.util
import random
import re
import threading
import time
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from ...errors import ConfigurationError, ForeignServiceError, MissingExtraError, RagError, ServiceCredentialsError, ServicePermissionError
from ..azure_auth import AzureTokens, make_token_provider
from ..azure_auth.identity import quiet
from ..hops import Hop, answer_error, error_of
from ..network.faults import causes, fault_of
from ..resilience.retry import delay, retry_after

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo, TokenCredential

    from ..azure_auth.exchange import Exchange
    from ..config import AzureCfg, SecretsCfg
    from ..network import NetworkPolicy
    from .references import Reference

API_VERSION = "7.4"
"""Served by every cloud; the library's own default is the newest."""
ATTEMPTS = 3
BACKOFF_BASE_S, BACKOFF_CAP_S = 0.3, 2.0
SETTING = "secrets.vault"
_OTHERS = re.compile(r"challenge resource '([A-Za-z0-9.:-]{1,253})' does not match the requested domain")
"""The library's words for a vault under a name that is not its own; it has no type for it. Tested against the installed version."""


class KeyVault:
    """The secrets of `[secrets] vault`.

    Raises:
        ConfigurationError: its address is not https.
    """

    def __init__(self, cfg: SecretsCfg, azure: AzureCfg, policy: NetworkPolicy) -> None:
        self._address = address_of(cfg)
        self._timeout_s = cfg.timeout_s
        self._policy = policy
        self._tokens = _Tokens(azure.model_copy(update={"timeout_s": min(azure.timeout_s, cfg.timeout_s)}), policy)

    def read(self, reference: Reference) -> str:
        """The value of a secret; blocks.

        Raises:
            MissingExtraError: azure-keyvault-secrets is not installed.
            ConfigurationError: there is no such secret, or no identity to ask with.
            IdentityError: the identity gets no token.
            ServiceCredentialsError: the vault refuses it, or does not let it read this secret.
            ServiceUnavailableError: the vault cannot be reached, or not in time; its kinds say why.
        """
        deadline = time.monotonic() + self._timeout_s
        attempt = 1
        while isinstance((outcome := self._ask(reference, deadline))[0], RagError):
            error, wait = outcome
            assert isinstance(error, RagError)
            pause = 0.0 if wait is None else max(wait, delay(attempt, random.random, base_s=BACKOFF_BASE_S, cap_s=BACKOFF_CAP_S))
            if wait is None or attempt == ATTEMPTS or time.monotonic() + pause >= deadline:
                raise error
            threading.Event().wait(pause)  # in a thread of its own
            attempt += 1
        return str(outcome[0])

    def _ask(self, reference: Reference, deadline: float) -> tuple[str | RagError, float | None]:
        """The value, or why there is none, and after how many seconds to ask again (None: not at all)."""
        _require()
        from azure.core.exceptions import AzureError
        from azure.keyvault.secrets import SecretClient

        from ..azure_auth.transport import IdentitySession

        quiet()
        session = IdentitySession(self._policy)
        try:
            transport = session.begin(deadline)
            client = SecretClient(
                self._address,
                cast("TokenCredential", self._tokens),
                api_version=API_VERSION,
                transport=transport,
                retry_total=0,
                permit_redirects=False,
                logging_enable=False,
            )
            found = client.get_secret(reference.name, reference.part or None).value
            return (found, None) if found else (self._lacking(reference, "is empty"), None)
        except RagError as error:  # of the identity, or of the policy's files
            return error.with_traceback(None), None  # azure-core's frames lie between, and hold requests with their tokens
        except (AzureError, ValueError) as error:
            ours = next((cause for cause in causes(error) if isinstance(cause, RagError)), None)
            if ours is not None:
                return ours.with_traceback(None), None
            named = _OTHERS.search(str(error)) if isinstance(error, ValueError) else None
            return (self._misnamed(named[1]), None) if named else self._failed(session.last, reference)
        finally:
            session.close()

    def _misnamed(self, resource: str) -> RagError:
        text = f"What answers at the vault's address asks for tokens of {resource}, to which that address does not belong; it gets none."
        hint = f"Use the vault's own name, such as https://NAME.{resource}: its private address has it too."
        return ForeignServiceError(text, hop=self._address, setting=SETTING, hint=hint)

    def _failed(self, exchange: Exchange, reference: Reference) -> tuple[RagError, float | None]:
        hop = Hop("The Azure Key Vault", exchange.hop or self._address, SETTING, timeout_setting="secrets.timeout_s", repeats_setting="secrets.timeout_s")
        hop = hop.through(exchange.proxy)
        if exchange.failure is not None:
            fault = fault_of(exchange.failure)
            return error_of(fault, hop), None if fault.tls or fault.kind in ("proxy-auth", "proxy-forbidden", "not-http") else 0.0
        status = exchange.status or 0
        known = answer_error(status, hop, retry_after=exchange.retry_after or "")
        if known is not None:
            return known, (retry_after(exchange.retry_after, time.time()) or 0.0) if status == 429 or status >= 500 else None
        return self._refused(status if exchange.spoken else 0, hop, reference) or (self._foreign(status, hop), None)

    def _refused(self, status: int, hop: Hop, reference: Reference) -> tuple[RagError, float | None] | None:
        """What a vault means by a status; None where none says so."""
        where = {"hop": hop.address, "proxy": hop.proxy}
        if status == 401:
            self._tokens.refused()
            text = "The Azure Key Vault does not accept this server's token (HTTP 401)."
            return ServiceCredentialsError(text, setting="azure.tenant_id", hint="The vault trusts its own tenant alone; compare them.", **where), 0.0
        if status == 403:
            text = f"The identity may not read the secret {reference.name} (HTTP 403)."
            hint = "Give it the role Key Vault Secrets User; look whether the secret is disabled, and whether the vault's firewall lets this network in."
            return ServicePermissionError(text, setting="azure.client_id", hint=hint, **where), None
        return (self._lacking(reference, "is not there", **where), None) if status == 404 else None

    def _foreign(self, status: int, hop: Hop) -> RagError:
        hint = "Check the address, and what intercepts the way there."
        text = f"What answered (HTTP {status}) is no Azure Key Vault."
        return ForeignServiceError(text, hop=hop.address, proxy=hop.proxy, setting=SETTING, hint=hint)

    def _lacking(self, reference: Reference, what: str, **where: str) -> ConfigurationError:
        where = {"hop": self._address, **where}
        return ConfigurationError(
            f"The secret {reference.name} {what} in the Azure Key Vault.", setting=SETTING, hint="Check its name, and the vault's.", **where
        )


class _Tokens:
    """A credential as azure-core wants it: one `AzureTokens` for each scope."""

    def __init__(self, cfg: AzureCfg, policy: NetworkPolicy) -> None:
        self._cfg = cfg
        self._policy = policy
        self._lock = threading.Lock()
        self._of_scope: dict[str, AzureTokens] = {}
        self._used: dict[str, str] = {}

    def get_token_info(self, *scopes: str, **_: object) -> AccessTokenInfo:
        """A token. The vault's tenant is not asked for: the identity has one, and a vault of another tenant refuses its tokens."""
        from azure.core.credentials import AccessTokenInfo

        tokens = self._tokens(scopes[0])
        token = self._used[scopes[0]] = tokens()
        return AccessTokenInfo(token, int(tokens.expires_at or time.time()))

    def refused(self) -> None:
        """Throw away what the vault did not take."""
        with self._lock:
            for scope, token in self._used.items():
                self._of_scope[scope].invalidate(token)

    def _tokens(self, scope: str) -> AzureTokens:
        with self._lock:
            if scope not in self._of_scope:
                made = make_token_provider(self._cfg.model_copy(update={"scope": scope}), self._policy)
                if made is None:
                    hint = "Set the keys of [azure], such as client_id and certificate_path, or credential = managed."
                    raise ConfigurationError("The Azure Key Vault needs an identity, and none is configured.", setting="azure.credential", hint=hint)
                self._of_scope[scope] = made
            return self._of_scope[scope]


def address_of(cfg: SecretsCfg) -> str:
    """The vault's address.

    Raises:
        ConfigurationError: it is not an https address of a host.
    """
    text = (cfg.vault or "").strip().rstrip("/")
    text = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and not parts.path and not parts.query and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError("The vault must be an https address.", setting=SETTING, hint="Such as https://NAME.vault.azure.net.")
    return text


def _require() -> None:
    try:
        found = importlib.util.find_spec("azure.keyvault.secrets")
    except ModuleNotFoundError:  # the packages above it are not there either
        found = None
    if found is None:
        hint = "Install it with: pip install 'founders-rag[azure]'"
        raise MissingExtraError("Secrets of an Azure Key Vault need the extra `azure`, which is not installed.", setting=SETTING, hint=hint)
