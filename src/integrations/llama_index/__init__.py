"""Our index, models and telemetry in LlamaIndex's shapes: a vector store, a retriever, an embedding model, a callback handler."""

from __future__ import annotations

from ..extras import needs_extra

with needs_extra("llama-index", "The LlamaIndex integration"):
    from .callbacks import RagCallbackHandler
    from .embedding import RagEmbedding
    from .retriever import RagRetriever, as_retriever
    from .store import RagVectorStore

__all__ = ["RagCallbackHandler", "RagEmbedding", "RagRetriever", "RagVectorStore", "as_retriever"]
