"""The Entra identity: its certificate, its token, and what that token says."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...errors import ConfigurationError, RagError
from ..azure_auth import load_certificate
from ..azure_auth.certificates import PATH
from ..azure_auth.kinds import kind_names
from .channel import in_thread
from .walk import Step, Walk

if TYPE_CHECKING:
    from ..azure_auth import AzureTokens

SOON_S = 300.0


def steps() -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """What comes before the network's steps, and after them."""
    return (Step("certificate", certificate),), (Step("token", token),)


async def certificate(walk: Walk) -> str:
    """Read the certificate before anything is sent, where one is used."""
    cfg = walk.settings.azure
    kinds = kind_names(cfg)
    if "certificate" not in kinds or (cfg.certificate_path is None and len(kinds) > 1):
        return f"no certificate is needed ({', '.join(kinds)})"
    found = await in_thread(lambda: load_certificate(cfg.certificate_path, cfg.certificate_password))
    warning = found.warning(datetime.now(UTC))
    if warning:
        walk.warn(warning, PATH, "Put a new one into the same file; it is read anew with each token.")
    return f"{found.subject}, thumbprint {found.thumbprint}, valid until {found.not_after:%Y-%m-%d}"


async def token(walk: Walk) -> str:
    """Get a token by the product's own provider, which all hops share, and read its claims."""
    tokens: AzureTokens | None = walk.site.resources.tokens
    if tokens is None:
        raise ConfigurationError("No Azure identity is configured.", setting="azure.certificate_path")
    try:
        value = await tokens.token()
    except RagError as error:
        raise walk.impatient(error, walk.settings.azure.timeout_s, walk.site.resources.settings.azure.timeout_s) from None
    claims = claims_of(value)
    parts = [f"by {', '.join(tokens.kinds)}"]
    audience = claims.get("aud")
    if audience:
        parts.append(f"audience {audience}")
        if not fits(str(audience), walk.settings.azure.scope):
            walk.warn(f"The token is meant for {audience}, and the scope is {walk.settings.azure.scope}.", "azure.scope", "Compare it with the resource.")
    left = (tokens.expires_at or 0.0) - time.time()
    parts.append(f"good for {left / 60:.0f} minutes")
    if left < SOON_S:
        walk.warn(f"The token is good for {left:.0f} s only.", "azure.tenant_id", "Check this machine's clock, and the tenant's token lifetime.")
    roles = claims.get("roles")
    parts.append(
        f"roles {', '.join(map(str, roles))}" if isinstance(roles, list) and roles else "no application roles (those of Azure resources are not in it)"
    )
    return "a token " + ", ".join(parts)


def claims_of(value: str) -> Mapping[str, Any]:
    """The claims of a token that is a JWT; empty for any other. They are shown, nothing is decided by them."""
    parts = value.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def fits(audience: str, scope: str) -> bool:
    """Whether a token is meant for the resource of a scope. An audience may also be the resource's application id, which no address tells."""
    host = urlsplit(audience).hostname
    wanted = urlsplit(scope.removesuffix("/.default")).hostname
    return host is None or wanted is None or host == wanted
