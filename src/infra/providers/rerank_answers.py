"""What a reranker's answers mean, good ones and others. Pure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ConfigurationError, DeadlineExceededError, ModelCredentialsError, ModelError, RagError, UnreachableError
from ..hops import Hop, answer_error, error_of, foreign
from ..network.faults import Fault, fault_of
from .attempts import asked_wait

if TYPE_CHECKING:
    from ..config import RerankCfg

_AT_PROXY = ("proxy-auth", "proxy-forbidden")
_SILENT = (502, 503, 504)
"""Answers of what lies before a service that does not answer."""


@dataclass(frozen=True, slots=True)
class Failed:
    """How an exchange failed.

    Attributes:
        passing: the same may work a moment later.
        counts: towards leaving the service alone: it is the service that failed, and not this request.
        retry_after_s: the least wait that it asked for.
    """

    error: RagError
    passing: bool = False
    counts: bool = False
    retry_after_s: float | None = None


def failed_exchange(error: Exception, hop: Hop) -> Failed:
    """No answer came, or the half of one."""
    fault = fault_of(error)
    found = error_of(fault, hop)
    away = isinstance(found, UnreachableError) and fault.kind not in _AT_PROXY
    return Failed(found, passing=away, counts=away or isinstance(found, DeadlineExceededError))


def refused(status: int, headers: Mapping[str, str], cfg: RerankCfg, hop: Hop) -> Failed:
    """An answer that is none of 200 to 299."""
    found = answer_error(status, hop, retry_after=headers.get("retry-after", ""))
    if found is not None:
        passing = status in (408, 429) or status >= 500
        return Failed(found, passing, status in _SILENT, asked_wait(headers, time.time()))
    if "html" in headers.get("content-type", ""):
        return Failed(foreign(hop, f"HTTP {status}, a web page"))
    error = _own(status, cfg)
    error.hop, error.proxy = hop.address, hop.proxy
    return Failed(error)


def _own(status: int, cfg: RerankCfg) -> RagError:
    if status == 401:
        text = "The reranker does not accept the API key" if cfg.api_key else "The reranker wants an API key"
        return ModelCredentialsError(f"{text} (HTTP 401).", setting="rerank.api_key", hint="Check it, and that it is one of the service in rerank.api_base.")
    if status == 403:
        hint = "Ask for access to the model: it may not admit this machine's address, or its proxy's."
        return ModelCredentialsError("The API key may not use this reranker (HTTP 403).", setting="rerank.api_key", hint=hint)
    if status in (404, 405):
        what, setting = (f"no model {cfg.model!r}, or nothing", "rerank.model") if cfg.model else ("nothing", "rerank.api_base")
        hint = "Check it, and rerank.api_base: what stands there before /rerank, such as /v1 or /v2."
        return ConfigurationError(f"The service has {what} at /rerank (HTTP {status}).", setting=setting, hint=hint)
    if status == 413 or (status == 422 and cfg.provider == "tei"):
        text, hint = f"The reranker takes no request of this size (HTTP {status}).", "Lower it, or rerank.passage_chars."
        return ModelError(text, setting="rerank.batch_size", hint=hint)
    return ModelError(
        f"The reranker refused the request (HTTP {status}).", setting="rerank.model", hint="Check it, and that rerank.provider is the shape of its API."
    )


def scores_of(data: bytes, count: int, cfg: RerankCfg, hop: Hop) -> list[float] | RagError:
    """The score of each of ``count`` texts, in their order; an error to raise where the answer broke off, has another shape, lacks an index or has
    one twice or one that was not asked for, or where a score is no number.
    """
    try:
        answer: Any = json.loads(data)
    except (ValueError, RecursionError):  # what has no length and broke off looks so, too
        return error_of(Fault("truncated"), hop)
    rows, name = (answer, "score") if cfg.provider == "tei" else (answer.get("results") if isinstance(answer, dict) else None, "relevance_score")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        text, hint = f"The reranker's answer has not the shape of `{cfg.provider}`.", "Name the other shape, or check rerank.api_base."
        return ModelError(text, hop=hop.address, proxy=hop.proxy, setting="rerank.provider", hint=hint)
    scores = {row["index"]: float(row[name]) for row in rows if _is_index(row.get("index"), count) and _is_score(row.get(name))}
    if len(scores) != count or len(rows) != count:
        text = f"The reranker gave {len(rows)} scores for {count} passages, {len(scores)} of them usable."
        return ModelError(text, hop=hop.address, proxy=hop.proxy, setting="rerank.model", hint="Look at the service, or name another model.")
    return [scores[place] for place in range(count)]


def _is_index(value: object, count: int) -> bool:
    return type(value) is int and 0 <= value < count


def _is_score(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]  # a number, as its type just told
    except OverflowError:  # an int beyond any float
        return False
