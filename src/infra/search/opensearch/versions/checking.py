"""Whether a new version answers as the old one does: counts, and a sample of questions made of the index's own chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .....errors import RagError
from .. import fields
from ..reading.stored import search
from ..wire.failures import check_whole, classify
from ..wire.serializer import dumps

if TYPE_CHECKING:
    from ..wire.transport import Transport
    from .state import Version

_SAMPLE = 20
_TOP = 10
_WORDS = 12
"""Words of a chunk that ask for it."""
_AGREEMENT = {"bm25": 0.7, "knn": 0.9}
"""Least mean share of the old index's hits that the new one also finds. Words are weighed with the statistics of entries
that were replaced until those are merged away: after eight rewrites of each of 20 near-identical documents the share was
0.84, untouched 1.0."""
_FOUND = 0.9
"""Least share of sample chunks that their own words, or their own vector, still find."""
_TIE = {"bm25": 0.05, "knn": 0.002}
"""How much better (relative) than the last hit a score must be to be missed: hits of equal score come in any order."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What was compared.

    Attributes:
        agreement: mean share of the old hits that the new index also gives, of each leg; absent where nothing could be asked.
        found: share of the sample's chunks that the old index finds by their own words or vector, and the new one too.
        problem: why the new index does not answer as the old one; empty where it does.
    """

    documents: int
    chunks: int
    questions: int
    agreement: Mapping[str, float]
    found: Mapping[str, float]
    problem: str


async def compare(transport: Transport, source: Version, target: Version, timeout_s: float) -> Checks:
    """Compare two versions that nobody writes to.

    Raises:
        RagError: they hold different numbers of entries.
    """
    counts = {}
    for name in (source.name, target.name):
        await transport.perform("POST", f"/{name}/_refresh", timeout_s=timeout_s, index=name)
        counts[name] = [await _count(transport, name, kind, timeout_s) for kind in (fields.DOCUMENT, fields.INTENT, fields.CHUNK)]
    (documents, _, chunks), (copied, _, copied_chunks) = counts[source.name], counts[target.name]
    if counts[source.name] != counts[target.name]:
        raise RagError(
            f"{source.name} holds {documents:,} documents and {chunks:,} chunks, {target.name} {copied:,} and {copied_chunks:,}; the alias stays.",
            hint=f"Run the command again; if it stays so, delete {target.name} and look at the server's log.",
        )
    shares, sample = await _shares(transport, source.name, target.name, timeout_s)
    agreement = {leg: sum(share.kept for share in found) / len(found) for leg, found in shares.items() if found}
    own = {leg: [share.found for share in found if share.found is not None] for leg, found in shares.items()}
    found = {leg: sum(values) / len(values) for leg, values in own.items() if values}
    same_words = source.meta.get("language") == target.meta.get("language")
    poor = [f"{leg} keeps {value:.2f} of the hits" for leg, value in agreement.items() if value < _AGREEMENT[leg] and (same_words or leg == "knn")]
    poor += [f"{leg} finds {value:.2f} of what was found" for leg, value in found.items() if value < _FOUND]
    return Checks(documents, chunks, sample, agreement, found, f"of {sample} sample questions " + ", ".join(poor) if poor else "")


async def _count(transport: Transport, index: str, kind: str, timeout_s: float) -> int:
    answer = await transport.perform("POST", f"/{index}/_count", body={"query": {"term": {fields.KIND: kind}}}, timeout_s=timeout_s, index=index)
    return int(answer["count"])


async def _shares(transport: Transport, source: str, target: str, timeout_s: float) -> tuple[dict[str, list[Share]], int]:
    sample = await _sample(transport, source, timeout_s)
    asked = [(key, leg, query) for key, entry in sample for leg, query in _questions(entry).items()]
    old, new = [await _ask(transport, name, [query for *_, query in asked], timeout_s) for name in (source, target)]
    shares: dict[str, list[Share]] = {"bm25": [], "knn": []}
    for (key, leg, _), before, after in zip(asked, old, new, strict=True):
        shares[leg].append(share(key, before, after, _TIE[leg]))
    return shares, len(sample)


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


async def _sample(transport: Transport, index: str, timeout_s: float) -> list[tuple[str, dict[str, Any]]]:
    random = {"function_score": {"query": {"term": {fields.KIND: fields.CHUNK}}, "random_score": {"seed": 1, "field": "_seq_no"}, "boost_mode": "replace"}}
    body = {"size": _SAMPLE, "query": random, "_source": [fields.BODY, fields.VECTOR], "track_total_hits": False}
    return [(hit["_id"], hit["_source"]) for hit in (await search(transport, f"/{index}/_search", body, index, timeout_s))["hits"]["hits"]]


def _questions(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    asked: dict[str, dict[str, Any]] = {}
    words = str(entry.get(fields.BODY, "")).split()
    if words:
        asked["bm25"] = {"match": {fields.BODY: " ".join(words[-_WORDS:])}}
    if entry.get(fields.VECTOR):
        asked["knn"] = {"knn": {fields.VECTOR: {"vector": entry[fields.VECTOR], "k": _TOP}}}
    return asked


@dataclass(frozen=True, slots=True)
class Share:
    kept: float
    """Share of the old hits that the new ones hold, or might hold: a score close to the last new one may have lost a draw."""
    found: bool | None
    """Whether the chunk that the question was made of is among the new hits; None where it is not among the old."""


def share(key: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], tie: float) -> Share:
    """Compare the hits of one question that was made of the chunk ``key``."""
    ids = {hit["_id"] for hit in new}
    last = new[-1]["_score"] if new else 0.0
    kept = [hit["_id"] in ids or hit["_score"] <= last * (1 + tie) for hit in old]
    mine = next((held for hit, held in zip(old, kept, strict=True) if hit["_id"] == key), None)
    return Share(sum(kept) / len(kept) if kept else 1.0, mine)
