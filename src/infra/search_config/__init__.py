"""Index time as pure data: languages and analysers, settings and mappings, search pipelines, memory."""

from .indices import SIZES, Engine, Size, Tuning, index_body, loading, memory_estimate, meta, serving, tuning_of, vector_bytes
from .languages import BODY_ANALYZER, LANGUAGES, QUERY_ANALYZER, QUERY_TERMS, TEXT_ANALYZER, Language, analysis
from .pipelines import search_pipeline

__all__ = [
    "BODY_ANALYZER",
    "LANGUAGES",
    "QUERY_ANALYZER",
    "QUERY_TERMS",
    "SIZES",
    "TEXT_ANALYZER",
    "Engine",
    "Language",
    "Size",
    "Tuning",
    "analysis",
    "index_body",
    "loading",
    "memory_estimate",
    "meta",
    "search_pipeline",
    "serving",
    "tuning_of",
    "vector_bytes",
]
