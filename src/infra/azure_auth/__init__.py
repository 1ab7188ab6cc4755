"""Entra ID identities: certificates, token providers, one token for all callers. Importing this loads no library of Azure's."""

from __future__ import annotations

from .certificates import ClientCertificate, load_certificate, read_certificate
from .identity import AzureTokens, make_token_provider
from .tokens import Token, TokenProvider

__all__ = ["AzureTokens", "ClientCertificate", "Token", "TokenProvider", "load_certificate", "make_token_provider", "read_certificate"]
