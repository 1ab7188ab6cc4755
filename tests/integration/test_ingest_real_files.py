"""The real files of ../shared/data: all are read or reported truly, and what is cut from them stands on their pages."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from src.infra.config import IngestionCfg
from src.infra.providers.tokenizer import ModelTokenizer
from src.ingestion.chunking import chunk_parts
from src.ingestion.loaders.registry import load
from src.ingestion.prepare import Target, prepare
from src.ingestion.sources.local_files import discover
from src.util.sentences import split_sentences

SCANNED = "contracts__NASPO_Participating_Addendum - insight public sector.pdf"


def squeezed(text: str) -> str:
    return " ".join(text.split())


def pages_of(shared_data: Path, dataset: str) -> dict[tuple[str, int], str]:
    """Text of each page as another tool extracted it, by file name and page from 1."""
    if dataset == "contoso-hr":
        records = [json.loads(line) for line in (shared_data / dataset / "corpus.jsonl").read_text("utf-8").splitlines()]
        return {(record["metadata"]["doc"], record["metadata"]["page"]): record["text"] for record in records}
    records = [json.loads(line) for line in (shared_data / dataset / "pages.jsonl").read_text("utf-8").splitlines()]
    return {(record["_id"].split("#p")[0], int(record["_id"].split("#p")[1]) + 1): record["text"] for record in records}


def test_all_contoso_files_are_read_but_the_scan_which_says_so(shared_data: Path, model_cache: Path) -> None:
    found = discover([shared_data / "contoso-hr" / "files"])
    assert (len(found.items), found.unsupported) == (33, ())
    tokens, cfg, target = ModelTokenizer(model_cache), IngestionCfg(), Target("t", ("tenant:*",), "m")
    reasons: dict[str, str] = {}
    for item in found.items:
        try:
            prepared = prepare(item, None, target, cfg, tokens)
        except Exception as error:  # noqa: BLE001 - collected, so that one assertion shows them all
            reasons[item.name] = getattr(error, "reason", repr(error))
        else:
            assert prepared is not None
            assert prepared.chunks
            assert prepared.document.title
    assert reasons == {SCANNED: "no-text-layer"}


@pytest.mark.parametrize(("dataset", "chunk_share", "sentence_share"), [("kgrag-sec10q", 0.96, 0.985), ("contoso-hr", 0.99, 0.99)])
def test_chunks_stand_verbatim_on_the_page_that_another_tool_reads(
    shared_data: Path, model_cache: Path, dataset: str, chunk_share: float, sentence_share: float
) -> None:
    """The rest are column heads that tools read in another order, and ligatures that PDFium maps to one letter."""
    pages = pages_of(shared_data, dataset)
    tokens = ModelTokenizer(model_cache)
    counts: Counter[str] = Counter()
    for item in discover([shared_data / dataset / "files"]).items[::3]:
        if (item.name, 1) not in pages:
            continue
        parts = load(item.read(), item.name).parts
        for passage in chunk_parts(parts, tokens, 180):
            assert passage.page is not None
            assert passage.text == parts[passage.page - 1].text[passage.start : passage.end]
            page = squeezed(pages.get((item.name, passage.page), ""))
            counts["chunks"] += 1
            counts["found"] += squeezed(passage.text) in page
            sentences = split_sentences(passage.text)
            counts["sentences"] += len(sentences)
            counts["sentences found"] += sum(squeezed(sentence) in page for sentence in sentences)
    assert counts["chunks"] > 100
    assert counts["found"] / counts["chunks"] >= chunk_share, counts
    assert counts["sentences found"] / counts["sentences"] >= sentence_share, counts
