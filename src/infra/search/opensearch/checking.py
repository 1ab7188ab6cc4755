"""Whether a new version answers as the old one does: counts, and a sample of questions made of the index's own chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....errors import RagError
from . import fields
from .diffing import search
from .failures import check_whole, classify
from .serializer import dumps

if TYPE_CHECKING:
    from .transport import Transport

_SAMPLE = 20
_TOP = 10
_WORDS = 12
"""Words of a chunk that ask for it."""
_AGREEMENT = 0.9
"""Least mean share of the old index's hits that the new one also finds. A graph of vectors is approximate, and word
statistics count deleted entries until they are merged away: two builds of the same 5,183 documents agreed to 0.97 or more."""
_TIE = {"bm25": 0.05, "knn": 0.002}
"""How much better (relative) than the last hit a score must be to be missed: hits of equal score come in any order."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What was compared. ``agreement``: mean share of common hits of each leg; absent where nothing could be asked."""

    documents: int
    chunks: int
    questions: int
    agreement: Mapping[str, float]


async def compare(transport: Transport, source: str, target: str, timeout_s: float) -> Checks:
    """Compare two versions that nobody writes to.

    Raises:
        RagError: they hold different numbers of entries, or the new one answers differently.
    """
    counts = {}
    for name in (source, target):
        await transport.perform("POST", f"/{name}/_refresh", timeout_s=timeout_s, index=name)
        counts[name] = [await _count(transport, name, kind, timeout_s) for kind in (fields.DOCUMENT, fields.INTENT, fields.CHUNK)]
    if counts[source] != counts[target]:
        (documents, _, chunks), (copied, _, copied_chunks) = counts[source], counts[target]
        raise RagError(
            f"{source} holds {documents:,} documents and {chunks:,} chunks, {target} {copied:,} and {copied_chunks:,}; the alias stays.",
            hint=f"Run the command again; if it stays so, delete {target} and look at the server's log.",
        )
    agreement, questions = await _agreement(transport, source, target, timeout_s)
    poor = {leg: share for leg, share in agreement.items() if share < _AGREEMENT}
    if poor:
        shown = ", ".join(f"{leg} {share:.2f}" for leg, share in poor.items())
        raise RagError(
            f"{target} answers otherwise than {source}: of the hits of {questions} sample questions it finds {shown}, less than {_AGREEMENT}; the alias stays.",
            hint=f"Look at both with `rag index list`; `rag index switch {target}` takes it all the same.",
        )
    return Checks(counts[source][0], counts[source][2], questions, agreement)


async def _count(transport: Transport, index: str, kind: str, timeout_s: float) -> int:
    answer = await transport.perform("POST", f"/{index}/_count", body={"query": {"term": {fields.KIND: kind}}}, timeout_s=timeout_s, index=index)
    return int(answer["count"])


async def _agreement(transport: Transport, source: str, target: str, timeout_s: float) -> tuple[dict[str, float], int]:
    sample = await _sample(transport, source, timeout_s)
    asked = [(leg, query) for entry in sample for leg, query in _questions(entry).items()]
    old, new = [await _ask(transport, name, [query for _, query in asked], timeout_s) for name in (source, target)]
    shares: dict[str, list[float]] = {"bm25": [], "knn": []}
    for (leg, _), before, after in zip(asked, old, new, strict=True):
        shares[leg].append(share(before, after, _TIE[leg]))
    return {leg: sum(found) / len(found) for leg, found in shares.items() if found}, len(sample)


async def _ask(transport: Transport, index: str, queries: Sequence[Mapping[str, Any]], timeout_s: float) -> list[list[dict[str, Any]]]:
    """Hits of several queries, in one request: writers wait meanwhile."""
    if not queries:
        return []
    head = dumps({})
    lines = [line for query in queries for line in (head, dumps({"size": _TOP, "query": query, "_source": False, "track_total_hits": False}))]
    answer = await transport.perform("POST", f"/{index}/_msearch", body=b"\n".join([*lines, b""]), timeout_s=timeout_s, index=index)
    for one in answer["responses"]:
        if "error" in one:
            raise classify(int(one.get("status", 500)), one, transport.host, index).error
        check_whole(one, allow_partial=False, host=transport.host, index=index)
    return [one["hits"]["hits"] for one in answer["responses"]]


async def _sample(transport: Transport, index: str, timeout_s: float) -> list[dict[str, Any]]:
    random = {"function_score": {"query": {"term": {fields.KIND: fields.CHUNK}}, "random_score": {"seed": 1, "field": "_seq_no"}, "boost_mode": "replace"}}
    body = {"size": _SAMPLE, "query": random, "_source": [fields.BODY, fields.VECTOR], "track_total_hits": False}
    return [hit["_source"] for hit in await search(transport, index, body, timeout_s)]


def _questions(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    asked: dict[str, dict[str, Any]] = {}
    words = str(entry.get(fields.BODY, "")).split()
    if words:
        asked["bm25"] = {"match": {fields.BODY: " ".join(words[-_WORDS:])}}
    if entry.get(fields.VECTOR):
        asked["knn"] = {"knn": {fields.VECTOR: {"vector": entry[fields.VECTOR], "k": _TOP}}}
    return asked


def share(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], tie: float) -> float:
    """Share of the old hits that the new ones hold, or might hold: a score within ``tie`` of the last new one may have lost a draw."""
    if not old:
        return 1.0
    ids = {hit["_id"] for hit in new}
    last = new[-1]["_score"] if new else 0.0
    return sum(1 for hit in old if hit["_id"] in ids or hit["_score"] <= last * (1 + tie)) / len(old)
