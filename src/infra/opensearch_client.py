"""The OpenSearch engine, under the name that outside code imports; its parts are in `search/opensearch/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .search.opensearch.engine import OpenSearchEngine

if TYPE_CHECKING:
    from .config import SearchCfg
    from .network import NetworkPolicy


class OpenSearchClient(OpenSearchEngine):
    """A `SearchClient` made from the configuration alone.

    Args:
        cfg: `[search]`.
        embedder: identity of the embedding model (`Embedder.model`); the index stores it and refuses another.
        dims: length of its vectors.
        network: the outbound policy; by default the machine's own, without a proxy.

    Raises:
        ConfigurationError: `[search]` names no host, or cannot be used.
    """

    def __init__(self, cfg: SearchCfg, *, embedder: str, dims: int, network: NetworkPolicy | None = None) -> None:
        if not cfg.host:
            raise ConfigurationError("The OpenSearch engine needs the address of a cluster.", setting="search.host", hint="Set [search] host.")
        if network is None:
            from .config import NetworkCfg
            from .network import NetworkPolicy

            network = NetworkPolicy(NetworkCfg())
        from .aws.signing import make_signer

        super().__init__(cfg, embedder=embedder, dims=dims, network=network, signer=make_signer(cfg, network))
