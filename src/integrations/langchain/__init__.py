"""Our retriever and our agent in LangChain's shapes: a retriever, a tool, and a subgraph for LangGraph."""

from __future__ import annotations

from ..extras import needs_extra

with needs_extra("langchain", "The LangChain integration"):
    from .retriever import RagRetriever, as_retriever
    from .subgraph import RagState, rag_graph
    from .tool import RagTool

__all__ = ["RagRetriever", "RagState", "RagTool", "as_retriever", "rag_graph"]
