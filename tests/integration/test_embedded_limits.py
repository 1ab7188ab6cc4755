"""The embedded engine answers the same whichever way its limits choose: each is forced here on a small corpus."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.core.identity import AccessScope, Identity, access_scope, system_scope
from src.core.search import AnyOf, Exists, Filter, Mode, Range, SearchRequest
from src.infra.search.embedded import EmbeddedSearch, ledger, lexical, ranking, vectors, writing

from .embedded_writer import DIMS, EMBEDDER, item

SCOPE: AccessScope = access_scope(Identity("ann"))
WAYS: dict[str, list[tuple[Any, str, Any]]] = {
    "filters picked from a lengthened ranking": [(ranking, "IN_QUERY", 0)],
    "rows as a term set": [(lexical, "_OR_ROWS", 0)],
    "every scan gathers": [(vectors, "_GATHER_SHARE", 1.1)],
    "no scan gathers": [(vectors, "_GATHER_SHARE", 0.0)],
    "small batches": [(vectors, "_BATCH", 2), (lexical, "_DELETE_BATCH", 2), (writing, "_GROUP_CHUNKS", 3)],
    "compacts all the time": [(vectors, "_MIN_DEAD", 0)],
    "forgets tombstones at once": [(ledger, "MAX_TOMBSTONES", 0)],
    "views follow each write": [(writing, "_FOLLOW_CHANGES", 0)],
    "views follow only at the end": [(writing, "_FOLLOW_CHANGES", 10**9), (writing, "_FOLLOW_S", 10**9)],
}
FILTERS: list[tuple[Filter, ...]] = [(), (Range("version", gte=60),), (AnyOf("count", (2, "3")), Exists("version")), (AnyOf("document_id", ("doc3",)),)]


async def history(folder: Path) -> list[list[tuple[str, float]]]:
    """Write, replace and delete; then ask in many ways."""
    rng = random.Random(4)
    engine = EmbeddedSearch(folder, embedder=EMBEDDER, dims=DIMS)
    for version in range(100):
        await engine.write([item(f"doc{rng.randint(0, 30)}", version, words=rng.randint(1, 9))])
        if version % 7 == 0:
            await engine.delete([f"doc{rng.randint(0, 30)}"], system_scope())
        if version % 20 == 0:
            await engine.info()
    info = await engine.info()
    assert info.views == {"lexical": info.chunks, "vector": info.chunks}
    answers = []
    modes: tuple[Mode, ...] = ("bm25", "knn", "hybrid")
    for mode in modes:
        for filters in FILTERS:
            for query, top_k in (("part1 filler7 version60", 5), ("part0", 40)):
                request = SearchRequest(query, mode=mode, top_k=top_k, filters=filters, vector=item("q", 3).vectors[0])
                answers.append([(hit.chunk_id, hit.score) for hit in (await engine.search(request, SCOPE)).hits])
        answers.append([("count", await engine.count(SCOPE, filters=FILTERS[1]))])
    await engine.aclose()
    return answers


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_every_way_gives_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    await compare(tmp_path, lambda: [monkeypatch.setattr(*patch) for patch in WAYS[way]])


async def compare(tmp_path: Path, patch: Callable[[], object]) -> None:
    usual = await history(tmp_path / "usual")
    patch()
    other = await history(tmp_path / "other")
    for expected, found in zip(usual, other, strict=True):
        # Lexical statistics count deleted chunks until segments merge, as in Lucene, so scores may differ a little.
        assert len(found) == len(expected)
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=0.2, abs=0.2)
    same_leg = [at for at in range(len(usual)) if at // 9 == 1]
    assert [[key for key, _ in other[at]] for at in same_leg] == [[key for key, _ in usual[at]] for at in same_leg]
