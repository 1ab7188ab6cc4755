"""The whole configuration."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PrivateAttr

from ...retrieval.config import IntentCfg, RetrievalCfg
from ..configuring.provenance import Provenance
from .agent import AgentCfg
from .api import ApiCfg
from .audit import AuditCfg
from .azure import AzureCfg
from .azure_openai import AzureOpenAICfg
from .cache import CacheCfg
from .chat import ChatCfg
from .embed import EmbedCfg
from .environment import EnvironmentCfg
from .features import FeaturesCfg
from .health import HealthCfg
from .ingestion import IngestionCfg
from .logging import LoggingCfg
from .network import NetworkCfg
from .persistence import PersistenceCfg
from .rerank import RerankCfg
from .search import SearchCfg
from .secrets import SecretsCfg
from .section import Section
from .storage import StorageCfg
from .telemetry import TelemetryCfg


class Settings(Section):
    """The whole configuration. Made by `load_settings`; where each value came from: `settings.source_of`."""

    environment: EnvironmentCfg = Field(default_factory=EnvironmentCfg)
    search: SearchCfg = Field(default_factory=SearchCfg)
    chat: ChatCfg = Field(default_factory=ChatCfg)
    embed: EmbedCfg = Field(default_factory=EmbedCfg)
    azure_openai: AzureOpenAICfg = Field(default_factory=AzureOpenAICfg)
    azure: AzureCfg = Field(default_factory=AzureCfg)
    network: NetworkCfg = Field(default_factory=NetworkCfg)
    secrets: SecretsCfg = Field(default_factory=SecretsCfg)
    storage: StorageCfg = Field(default_factory=StorageCfg)
    cache: CacheCfg = Field(default_factory=CacheCfg)
    persistence: PersistenceCfg = Field(default_factory=PersistenceCfg)
    retrieval: RetrievalCfg = Field(default_factory=RetrievalCfg)
    rerank: RerankCfg = Field(default_factory=RerankCfg)
    ingestion: IngestionCfg = Field(default_factory=IngestionCfg)
    agent: AgentCfg = Field(default_factory=AgentCfg)
    api: ApiCfg = Field(default_factory=ApiCfg)
    telemetry: TelemetryCfg = Field(default_factory=TelemetryCfg)
    logging: LoggingCfg = Field(default_factory=LoggingCfg)
    audit: AuditCfg = Field(default_factory=AuditCfg)
    health: HealthCfg = Field(default_factory=HealthCfg)
    features: FeaturesCfg = Field(default_factory=FeaturesCfg)
    intents: tuple[tuple[str, IntentCfg], ...] = Field((), description="The sections `[intent:NAME]`, with their names.")

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def provenance(self) -> Provenance:
        """Where the values came from; empty for settings that were built by hand."""
        return self._provenance

    def with_provenance(self, provenance: Provenance) -> Self:
        """The same settings, remembering where their values came from."""
        copy = self.model_copy()
        copy._provenance = provenance  # noqa: SLF001 - a copy of its own class
        return copy
