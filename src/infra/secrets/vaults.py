"""The vaults of one configuration: `load_settings` makes the secrets that name them, and nothing is asked of a vault until one is used."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from ...errors import ConfigurationError, Problem
from .held import Timing, VaultSecret
from .live import LiveSecret, live_secrets
from .references import Reference, parse_reference

if TYPE_CHECKING:
    from ..config import Settings
    from ..network import NetworkPolicy

UNUSABLE = {
    "vault": ("network", "azure", "secrets"),
    "aws": ("network", "secrets"),
}
"""Sections whose values a vault cannot give, because the way to it needs them."""


class Reader(Protocol):
    """Reads one vault. Blocks, within the deadline of `[secrets] timeout_s`."""

    def read(self, reference: Reference) -> str:
        """The value.

        Raises:
            RagError: with hop and setting.
        """
        ...


class Vaults:
    """Made with each `load_settings`, and told its outcome; so each secret that is named twice is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[Reference, _Secret] = {}
        self._readers: dict[str, Reader] = {}
        self._settings: Settings | None = None

    def secret(self, pieces: Iterable[str | tuple[str, str]]) -> LiveSecret:
        """The value of a key that is made of text and references.

        Args:
            pieces: text as it is, and references as scheme and name.

        Raises:
            ValueError: a reference names nothing.
        """
        return LiveSecret(tuple(piece if isinstance(piece, str) else self._held(parse_reference(*piece)) for piece in pieces))

    def bind(self, settings: Settings) -> None:
        """The configuration is loaded: these say where the vaults are, and how to get there."""
        self._settings = settings

    def key(self) -> object:
        """What makes the same name mean the same secret."""
        found = self._settings
        return id(self) if found is None else (found.secrets, found.azure, found.network)

    def _held(self, reference: Reference) -> VaultSecret:
        return self._secrets.setdefault(reference, _Secret(reference, self))

    def read(self, reference: Reference) -> str:
        """The value in its vault; blocks."""
        return self._reader(reference.scheme).read(reference)

    def timing(self) -> Timing:
        cfg = self._loaded().secrets
        return Timing(cfg.ttl_s, cfg.timeout_s)

    def place(self, reference: Reference) -> str:
        """The secret in words."""
        address = self._settings.secrets.vault if self._settings else None
        return reference.place(vault_name(address or ""))

    def hop(self, reference: Reference) -> str:
        """Where it is asked for."""
        cfg = self._loaded().secrets
        if reference.scheme == "aws":
            return cfg.aws_endpoint or "AWS Secrets Manager"
        from .key_vault import address_of

        return address_of(cfg)

    def _reader(self, scheme: str) -> Reader:
        with self._lock:
            if scheme not in self._readers:
                self._readers[scheme] = self._open(scheme)
            return self._readers[scheme]

    def _open(self, scheme: str) -> Reader:
        from ..network import NetworkPolicy

        settings = self._loaded()
        policy: NetworkPolicy = NetworkPolicy(settings.network)
        if scheme == "vault":
            from .key_vault import KeyVault

            return KeyVault(settings.secrets, settings.azure, policy)
        from .secrets_manager import SecretsManager

        return SecretsManager(settings.secrets, policy)

    def _loaded(self) -> Settings:
        if self._settings is None:
            raise ConfigurationError("A secret of a vault was asked for before the configuration was loaded.")
        return self._settings


class _Secret(VaultSecret):
    def __init__(self, reference: Reference, vaults: Vaults) -> None:
        super().__init__(reference, vaults.read, vaults.timing, vaults.place, vaults.hop)
        self._vaults = vaults

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Secret) and self.reference == other.reference and self._vaults.key() == other._vaults.key())

    def __hash__(self) -> int:
        return hash(self.reference)


def vault_name(address: str) -> str:
    """The name of an Azure vault: the first label of its host."""
    return (urlsplit(address).hostname or "").split(".")[0] or "(no address)"


def problems_of(settings: Settings) -> list[Problem]:
    """References to an Azure vault whose address is not configured."""
    if settings.secrets.vault:
        return []
    lacking = [
        name for name, secret in live_secrets(settings) if any(isinstance(held, VaultSecret) and held.reference.scheme == "vault" for held in secret.held)
    ]
    return [
        Problem("comes from an Azure Key Vault, but no vault is configured. Set [secrets] vault, such as https://NAME.vault.azure.net.", name)
        for name in lacking
    ]
