"""The sample handbook holds together: documents, corpus, questions and gold quotes."""

import csv
import json
import re
import zipfile
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
HANDBOOK, QUESTIONS = EXAMPLES / "handbook", EXAMPLES / "questions"


def read_lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (QUESTIONS / name).read_text("utf-8").splitlines()]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def read_qrels() -> list[dict[str, str]]:
    with (QUESTIONS / "qrels/test.tsv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def read_document(path: Path) -> str:
    """Its words as a reader sees them, straight from the file."""
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            return " ".join(page.get_textpage().get_text_range() for page in document)
    if path.suffix == ".docx":
        with zipfile.ZipFile(path) as archive:
            body = archive.read("word/document.xml").decode("utf-8")
        return unescape(re.sub(r"<[^>]+>", "", body.replace("</w:p>", " ")))
    text = path.read_text("utf-8")
    return unescape(re.sub(r"<[^>]+>", "", text)) if path.suffix == ".html" else text


PATHS = sorted(path for path in HANDBOOK.rglob("*") if path.is_file())
CORPUS = {entry["_id"]: entry for entry in read_lines("corpus.jsonl")}
QUERIES = {entry["_id"]: entry for entry in read_lines("queries.jsonl")}
UNANSWERABLE = read_lines("queries-unanswerable.jsonl")
QRELS = read_qrels()


def test_formats_and_counts() -> None:
    formats = Counter(path.suffix for path in PATHS)

    assert set(formats) == {".pdf", ".docx", ".html", ".md", ".txt"}
    assert min(formats.values()) >= 4
    assert len(PATHS) >= 25
    assert len(QUERIES) == 40
    assert Counter(entry["metadata"]["kind"] for entry in UNANSWERABLE) == {
        "near-miss": 10,
        "off-topic": 10,
    }


def test_corpus_lists_every_document_once() -> None:
    assert list(CORPUS) == [path.relative_to(HANDBOOK).as_posix() for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_document_is_small_and_says_something(path: Path) -> None:
    entry = CORPUS[path.relative_to(HANDBOOK).as_posix()]

    assert path.stat().st_size < 100_000
    assert entry["title"]
    assert 250 <= len(entry["text"].split()) <= 1500
    assert len(read_document(path).split()) >= 250


def test_qrels_name_known_questions_and_documents() -> None:
    gold = {(row["query-id"], row["corpus-id"]) for row in QRELS}
    documents = {document for _, document in gold}

    assert len(gold) == len(QRELS)
    assert {row["score"] for row in QRELS} == {"1"}
    assert {query for query, _ in gold} == set(QUERIES)
    assert documents <= set(CORPUS)
    assert len(documents) >= 22
    assert len({Path(document).suffix for document in documents}) == 5


@pytest.mark.parametrize("query", sorted(QUERIES))
def test_gold_quote_stands_in_a_gold_document(query: str) -> None:
    quote = squeezed(QUERIES[query]["metadata"]["gold_quote"])
    gold = [row["corpus-id"] for row in QRELS if row["query-id"] == query]

    assert any(quote in squeezed(CORPUS[document]["text"]) for document in gold)
    assert any(quote in squeezed(read_document(HANDBOOK / document)) for document in gold)


def test_no_question_is_asked_twice() -> None:
    asked = [entry["text"].casefold() for entry in [*QUERIES.values(), *UNANSWERABLE]]

    assert len(set(asked)) == len(asked) == 60
    assert not set(QUERIES) & {entry["_id"] for entry in UNANSWERABLE}
