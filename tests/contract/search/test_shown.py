"""What a hit shows beside its text: highlights, accounts of the score, legs; and what engines say they cannot do."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from src.core.search import MODES, AnyOf, HybridTuning, Mode, SearchRequest
from src.infra.search.protocol import SearchClient

from .builders import MEMBER, vector_of, write

TEXTS = ["the meter reading, METERS and Zählerstände", "night tariff", "storm and outage", "a meter for the night", "电表读数每年一次", "बिजली की कटौती"]
SERVER: list[Any] = ["min_max", "l2", "z_score", "rrf"]


@pytest.fixture
async def corpus(client: SearchClient) -> SearchClient:
    await client.write([write(f"d{at}", [text], title="Handbook", metadata={"even": at % 2 == 0}) for at, text in enumerate(TEXTS)])
    return client


def ask(query: str, mode: Mode = "hybrid", **more: Any) -> SearchRequest:
    return SearchRequest(query, mode=mode, vector=vector_of(query), **more)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("query", "found"), [("meters", ["meter", "METERS"]), ("zahlerstande", ["Zählerstände"]), ("电表", ["电表"]), ("बिजली", ["बिजली"])])
async def test_highlights_are_the_places_of_the_questions_words(corpus: SearchClient, mode: Mode, query: str, found: list[str]) -> None:
    hits = (await corpus.search(ask(query, mode, highlight=True), MEMBER)).hits
    hit = next(hit for hit in hits if (found[0] in hit.text and "reading" in hit.text) or hit.text.startswith(found[0]))
    assert [hit.text[start:end] for start, end in hit.highlights] == found
    assert all(not hit.highlights for hit in hits if hit.text == "storm and outage")


@pytest.mark.parametrize("query", ["\u00e9l\u00e9ment", "element", "A\u030angstr\u00f6m", "\u092a\u0922\u093c\u0947\u0902"])
async def test_words_of_composed_letters_are_highlighted_whole(client: SearchClient, query: str) -> None:
    words = ["e\u0301le\u0301ment", "A\u030angstro\u0308m", "\u092a\u0922\u093c\u0947\u0902"]
    await client.write([write("d", [" + ".join(words)])])
    (hit,) = (await client.search(ask(query, "bm25", highlight=True), MEMBER)).hits
    ((start, end),) = hit.highlights
    assert hit.text[start:end] in words


async def test_highlights_survive_text_that_is_not_unicode_or_looks_like_markup(client: SearchClient) -> None:
    texts = ["lone \ud800 meter", "<em>meter</em> & \ue000<b>", "\x00 meter \U0001f600 meter"]
    await client.write([write(f"d{at}", [text]) for at, text in enumerate(texts)])
    hits = (await client.search(ask("meter", "bm25", highlight=True), MEMBER)).hits
    assert {hit.text for hit in hits} == set(texts)
    assert all({hit.text[start:end] for start, end in hit.highlights} == {"meter"} for hit in hits)


async def test_a_very_long_text_is_found_and_highlighted_as_far_as_it_goes(client: SearchClient) -> None:
    await client.write([write("d", ["meter " + "word " * 250_000])])
    (hit,) = (await client.search(ask("meter", "bm25", highlight=True), MEMBER)).hits
    assert hit.highlights == ((0, 5),)


async def test_nothing_is_shown_that_was_not_asked_for(corpus: SearchClient) -> None:
    for mode in MODES:
        hits = (await corpus.search(ask("meter", mode), MEMBER)).hits
        assert all(hit.highlights == () and hit.explanation is None for hit in hits)


def tunings() -> list[tuple[Mode, HybridTuning]]:
    server = [HybridTuning(fusion="server", technique=technique) for technique in SERVER]
    return [("bm25", HybridTuning()), ("knn", HybridTuning()), ("hybrid", HybridTuning()), *(("hybrid", tuning) for tuning in server)]


@pytest.mark.parametrize(("mode", "tuning"), tunings())
async def test_every_hit_explains_its_score(corpus: SearchClient, mode: Mode, tuning: HybridTuning) -> None:
    for hit in (await corpus.search(ask("meter night", mode, tuning=tuning, explain=True, top_k=3), MEMBER)).hits:
        assert hit.explanation is not None
        assert {"value", "description", "details"} <= set(hit.explanation)
        assert hit.explanation["value"] == pytest.approx(hit.score, rel=1e-4)


@pytest.mark.parametrize(("mode", "tuning"), tunings())
async def test_every_hit_names_what_each_leg_gave(corpus: SearchClient, mode: Mode, tuning: HybridTuning) -> None:
    request = ask("meter night", mode, tuning=tuning)
    raw = {leg: {hit.chunk_id: hit.score for hit in (await corpus.search(ask("meter night", leg), MEMBER)).hits} for leg in ("bm25", "knn")}
    hits = (await corpus.search(request, MEMBER)).hits
    assert hits
    for hit in hits:
        expected = {leg: scores[hit.chunk_id] for leg, scores in raw.items() if hit.chunk_id in scores and mode in (leg, "hybrid")}
        if mode == "hybrid" and tuning.fusion == "completed":
            expected = {"bm25": 0.0, **expected}
        assert dict(hit.legs) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("technique", SERVER)
async def test_server_fusion_is_the_same_formula_on_every_engine(corpus: SearchClient, technique: Any) -> None:
    from src.infra.search.fusion import Leg, server

    tuning = HybridTuning(fusion="server", technique=technique, vector_weight=0.3, candidates=3)
    legs = {leg: (await corpus.search(ask("meter night", leg, top_k=3), MEMBER)).hits for leg in ("bm25", "knn")}
    names = sorted({hit.chunk_id for hits in legs.values() for hit in hits})
    vector, lexical = (
        Leg(*(np.array(values) for values in ([names.index(hit.chunk_id) for hit in legs[leg]], [hit.score for hit in legs[leg]]))) for leg in ("knn", "bm25")
    )
    expected = server(vector, lexical, technique, 0.3)
    hits = (await corpus.search(ask("meter night", tuning=tuning, top_k=3), MEMBER)).hits
    assert [hit.score for hit in hits] == pytest.approx(expected.scores[:3].tolist(), rel=1e-4, abs=1e-6)


async def test_filters_and_scope_hold_within_server_fusion(corpus: SearchClient) -> None:
    for technique in SERVER:
        tuning = HybridTuning(fusion="server", technique=technique)
        hits = (await corpus.search(ask("meter night", tuning=tuning, filters=(AnyOf("even", (False,)),)), MEMBER)).hits
        assert {hit.document_id for hit in hits} == {"d1", "d3", "d5"}
        stranger = dataclasses.replace(MEMBER, tenant="elsewhere")
        assert (await corpus.search(ask("meter night", tuning=tuning), stranger)).hits == ()


async def test_several_requests_of_every_kind_are_answered_together_as_alone(corpus: SearchClient) -> None:
    requests = [ask("meter night", mode, tuning=tuning, top_k=4) for mode, tuning in tunings()] * 3
    together = await corpus.multi_search(requests, MEMBER)
    for request, result in zip(requests, together, strict=True):
        alone = await corpus.search(request, MEMBER)
        assert (result.hits, result.next_cursor, result.degraded) == (alone.hits, alone.next_cursor, alone.degraded)
