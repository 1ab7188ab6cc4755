"""Shapes of the configuration: frozen, validated, documented. A class is a section; loading is `settings.py`.

The description of each field is its documentation: `rag config explain` and `docs/configuration.md` print it.
"""

from ...retrieval.config import IntentCfg, RetrievalCfg
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
from .network import ADDRESS, NetworkCfg
from .persistence import PersistenceCfg
from .rerank import RerankCfg
from .search import SearchCfg
from .secrets import SecretsCfg
from .section import Section
from .settings import Settings
from .storage import StorageCfg
from .telemetry import TelemetryCfg

__all__ = [
    "ADDRESS",
    "AgentCfg",
    "ApiCfg",
    "AuditCfg",
    "AzureCfg",
    "AzureOpenAICfg",
    "CacheCfg",
    "ChatCfg",
    "EmbedCfg",
    "EnvironmentCfg",
    "FeaturesCfg",
    "HealthCfg",
    "IngestionCfg",
    "IntentCfg",
    "LoggingCfg",
    "NetworkCfg",
    "PersistenceCfg",
    "RerankCfg",
    "RetrievalCfg",
    "SearchCfg",
    "SecretsCfg",
    "Section",
    "Settings",
    "StorageCfg",
    "TelemetryCfg",
]
