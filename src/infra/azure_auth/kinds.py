"""The kinds of identity: what each needs of the configuration, and how azure-identity is asked for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

from ...errors import ConfigurationError, IdentityError, RagError
from .certificates import load_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from azure.core.credentials import AccessTokenInfo
    from azure.core.pipeline.transport import RequestsTransport

    from ..config import AzureCfg

KindName = Literal["certificate", "secret", "workload", "managed", "cli"]
PUBLIC_CLOUD = "https://login.microsoftonline.com"
_TENANT = re.compile(r"[A-Za-z0-9.-]+")
_SCOPE = re.compile(r"[A-Za-z0-9_.:/-]+")


class Credential(Protocol):
    """What all of azure-identity's credentials do."""

    def get_token_info(self, *scopes: str) -> AccessTokenInfo: ...


Opener = Callable[["AzureCfg", "RequestsTransport", float], Credential]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of identity."""

    name: KindName
    words: str
    """What a refusal is about."""
    setting: str
    """The key that is responsible where nothing says more."""
    needs: tuple[str, ...]
    """Keys of `[azure]` without which it cannot be used; the first one that is missing is named."""
    absence: str
    """Where there was nothing to ask."""
    hint: str
    open: Opener
    local: bool = False
    """Asked of the machine itself, never through a proxy."""

    def unmet(self, cfg: AzureCfg) -> tuple[str, ...]:
        """Keys that are missing."""
        return tuple(f"azure.{key}" for key in self.needs if not getattr(cfg, key))

    def check(self, cfg: AzureCfg) -> None:
        """Raise `ConfigurationError` where a key is missing, or a value cannot be one."""
        unmet = self.unmet(cfg)
        if unmet:
            text = f"The Azure identity ({self.name}) is not configured: {', '.join(unmet)} {'is' if len(unmet) == 1 else 'are'} missing."
            hint = "Set it, choose another identity with azure.credential, or let an API key stand in with azure.allow_api_key_fallback."
            raise ConfigurationError(text, setting=unmet[0], hint=hint)
        if cfg.tenant_id and not _TENANT.fullmatch(cfg.tenant_id):
            raise ConfigurationError("The tenant is no id or domain.", setting="azure.tenant_id")
        if not _SCOPE.fullmatch(cfg.scope):
            raise ConfigurationError("The scope cannot be one.", setting="azure.scope", hint="Write it as the resource's address and /.default.")
        authority_of(cfg)

    def missing(self, more: str = "") -> RagError:
        """The error where this kind is not to be had on this machine."""
        return IdentityError(f"{self.absence}{more}.", hop=self.name if self.local else "", setting=self.setting, hint=self.hint)


def authority_of(cfg: AzureCfg) -> str:
    """The authority's address; without a scheme it is https.

    Raises:
        ConfigurationError: it is none, or not https: what proves who we are goes there.
    """
    text = (cfg.authority_host or PUBLIC_CLOUD).strip().rstrip("/")
    text = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError("The authority must be a host, or an https address.", setting="azure.authority_host", hint=f"Such as {PUBLIC_CLOUD}.")
    return text


def _options(cfg: AzureCfg, transport: RequestsTransport) -> dict[str, Any]:
    # No instance discovery: it asks login.microsoftonline.com about each other authority, which a private network has no way to.
    return {"authority": authority_of(cfg), "disable_instance_discovery": True, "transport": transport, "retry_total": 0}


def _deaf(credential: Any) -> Credential:
    """Regional authorities come from `AZURE_REGIONAL_AUTHORITY_NAME` or `MSAL_FORCE_REGION`, which would override the configured one."""
    credential._regional_authority = False  # noqa: SLF001 - there is no public way; tested against the installed version
    return credential  # type: ignore[no-any-return] # Any on purpose, for the line above


def _certificate(cfg: AzureCfg, transport: RequestsTransport, _seconds: float) -> Credential:
    certificate = load_certificate(cfg.certificate_path, cfg.certificate_password)  # anew each time: files are rotated
    from azure.identity import CertificateCredential

    tenant, client, chain = cfg.tenant_id or "", cfg.client_id or "", cfg.send_certificate_chain
    return _deaf(CertificateCredential(tenant, client, certificate_data=certificate.pem, send_certificate_chain=chain, **_options(cfg, transport)))


def _secret(cfg: AzureCfg, transport: RequestsTransport, _seconds: float) -> Credential:
    from azure.identity import ClientSecretCredential

    secret = cfg.client_secret.get_secret_value() if cfg.client_secret else ""
    return _deaf(ClientSecretCredential(cfg.tenant_id or "", cfg.client_id or "", secret, **_options(cfg, transport)))


def _workload(cfg: AzureCfg, transport: RequestsTransport, _seconds: float) -> Credential:
    from azure.identity import WorkloadIdentityCredential

    path = str(cfg.federated_token_file) if cfg.federated_token_file else None
    if cfg.federated_token_file is not None:
        _check_readable(cfg.federated_token_file)
    # Tenant, client and file that are not configured are those that the platform's webhook put into the environment.
    return WorkloadIdentityCredential(tenant_id=cfg.tenant_id, client_id=cfg.client_id, token_file_path=path, **_options(cfg, transport))


def _check_readable(path: Path) -> None:
    """One that is named and cannot be used is a mistake, and no sign that there is no workload identity here."""
    setting, hint = "azure.federated_token_file", "Check the path, and the volume that the platform should mount there."
    try:
        with path.open("rb") as file:
            if file.read(1):
                return
    except OSError as error:
        raise ConfigurationError(f"The service account token {path} cannot be read: {error.strerror}.", setting=setting, hint=hint) from None
    raise ConfigurationError(f"The service account token {path} is empty.", setting=setting, hint=hint)


def _managed(cfg: AzureCfg, transport: RequestsTransport, _seconds: float) -> Credential:
    from azure.identity import ManagedIdentityCredential

    # Workload identity is a kind of its own here; left in, it would go to the authority without the proxy.
    return ManagedIdentityCredential(client_id=cfg.client_id, transport=transport, retry_total=0, _exclude_workload_identity_credential=True)


def _cli(cfg: AzureCfg, _transport: RequestsTransport, seconds: float) -> Credential:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=cfg.tenant_id or "", process_timeout=max(1, int(seconds)))


KINDS: dict[KindName, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "certificate",
            "client certificate",
            "azure.certificate_path",
            ("certificate_path", "tenant_id", "client_id"),
            "The client certificate could not be used",
            "Check [azure].",
            _certificate,
        ),
        Kind(
            "secret",
            "client secret",
            "azure.client_secret",
            ("client_secret", "tenant_id", "client_id"),
            "The client secret could not be used",
            "Check [azure].",
            _secret,
        ),
        Kind(
            "workload",
            "workload identity",
            "azure.federated_token_file",
            (),
            "There is no workload identity here: tenant, client or service account token is missing",
            "Check the pod's service account and label, or set tenant_id, client_id and federated_token_file of [azure].",
            _workload,
        ),
        Kind(
            "managed",
            "managed identity",
            "azure.credential",
            (),
            "There is no managed identity here",
            "Assign one to this machine; a user-assigned one is named by azure.client_id.",
            _managed,
            local=True,
        ),
        Kind("cli", "Azure CLI", "azure.credential", (), "The Azure CLI gives no token here", "Install `az`, and sign in with `az login`.", _cli, local=True),
    )
}


def kind_names(cfg: AzureCfg) -> tuple[KindName, ...]:
    """The kinds to try, in order; empty where no identity is configured.

    Raises:
        ConfigurationError: a chain of nothing.
    """
    if cfg.credential == "chain":
        if not cfg.chain:
            raise ConfigurationError("The chain of identities is empty.", setting="azure.chain", hint="Name its kinds in order.")
        return cfg.chain
    if cfg.credential is not None:
        return (cfg.credential,)
    if cfg.certificate_path is not None:
        return ("certificate",)
    return ("secret",) if cfg.client_secret is not None else ()
