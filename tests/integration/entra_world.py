"""An Entra ID that checks what proves an identity, a model service that takes its tokens, and an identity that both know: real TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from src.errors import (
    RagError,
)
from src.infra.azure_auth import AzureTokens, TokenProvider, make_token_provider
from src.infra.config import AzureCfg, NetworkCfg
from src.infra.network import NetworkPolicy
from src.infra.resource_manager import ResourceManager
from src.infra.settings import load_settings
from tests.emulators.azure_openai import AzureOpenAIEmulator
from tests.emulators.certificates import Issued, issue, rsa_key
from tests.emulators.entra import CLIENT, TENANT, App, EntraEmulator

SECRET = "canary-client-secret-51d0"
PASSWORD = "canary-certificate-password-8c2e"
PROXY_PASSWORD = "canary-proxy-password-a9b4"


@dataclass
class World:
    """An authority, a model service that takes its tokens, and an identity that both know."""

    entra: EntraEmulator
    openai: AzureOpenAIEmulator
    folder: Path
    issued: Issued
    made: list[AzureTokens] = field(default_factory=list)

    @property
    def app(self) -> App:
        return self.entra.apps[CLIENT]

    @property
    def ca_file(self) -> Path:
        return self.folder / "authorities.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "identity.pem"

    def network(self, **keys: Any) -> NetworkPolicy:
        return NetworkPolicy(NetworkCfg(ca_bundle=keys.pop("ca_bundle", self.ca_file), **keys))

    def azure(self, **keys: Any) -> AzureCfg:
        base = {"tenant_id": TENANT, "client_id": CLIENT, "authority_host": self.entra.url, "certificate_path": self.certificate, "timeout_s": 10.0}
        return AzureCfg(**{name: value for name, value in {**base, **keys}.items() if value is not None})

    def tokens(self, network: NetworkPolicy | None = None, **keys: Any) -> AzureTokens:
        found = make_token_provider(self.azure(**keys), network or self.network())
        assert found is not None
        self.made.append(found)
        return found

    def resources(self, **keys: dict[str, Any]) -> ResourceManager:
        """The product's own parts, configured as a person would."""
        azure = {name: value for name, value in self.azure().model_dump(exclude_unset=True).items() if name != "timeout_s"}
        sections: dict[str, dict[str, Any]] = {
            "azure": azure,
            "network": {"ca_bundle": self.ca_file},
            "chat": {"provider": "azure", "model": "gpt-4", "api_base": self.openai.url, "api_version": "2024-06-01", "max_retries": 0},
            "embed": {"provider": "azure", "model": "text-embedding-ada-002", "dims": self.openai.dims, "max_retries": 0, "cache_entries": 0},
        }
        for section, values in keys.items():
            sections[section] = {**sections.get(section, {}), **values}
        flat = {f"{section}.{key}": str(value) for section, values in sections.items() for key, value in values.items() if value is not None}
        (self.folder / "empty.ini").write_text("[storage]\n")
        return ResourceManager(load_settings(self.folder / "empty.ini", overrides=flat))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ca = trustme.CA()
    entra = EntraEmulator(ca)
    openai = AzureOpenAIEmulator(tmp_path, ca=ca)
    openai.problem_of = entra.problem_of
    (tmp_path / "authorities.pem").write_bytes(entra.ca_pem)
    issued = issue(key=rsa_key(3))
    issued.written(tmp_path / "identity.pem")
    entra.apps[CLIENT] = App(certificates=[issued.certificate], secrets={SECRET})
    with entra.running(), openai.running():
        found = World(entra, openai, tmp_path, issued)
        yield found
        for tokens in found.made:
            tokens.close()


def failure(tokens: TokenProvider) -> RagError:
    with pytest.raises(RagError) as caught:
        tokens()
    return caught.value
