"""The BEIR loader: what it reads, and that each error names its file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.errors import InputError
from src.evaluation.dataset import Dataset, Turn, load_dataset, read_judgements

CORPUS = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "text": "second"}]
QUERIES = [
    {"_id": "q1", "text": "what?", "metadata": {"history": [{"speaker": "user", "text": "hello"}, {"speaker": "agent", "text": "hi"}]}},
    {"_id": "q2", "text": "never judged"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq9\td1\t1\n"


def write(folder: Path, *, corpus: object = CORPUS, queries: object = QUERIES, qrels: str = QRELS) -> Path:
    def lines(records: object) -> str:
        return records if isinstance(records, str) else "".join(json.dumps(record) + "\n" for record in records)  # type: ignore[attr-defined]

    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(lines(corpus))
    (folder / "queries.jsonl").write_text(lines(queries))
    (folder / "qrels" / "dev.tsv").write_text(qrels)
    return folder


def test_only_judged_questions_are_asked_and_unknown_ones_are_counted(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path / "set"), "dev")
    assert [question.id for question in dataset.questions] == ["q1"]
    assert dataset.judgements == {"q1": {"d1": 1, "d2": 0}}
    assert dataset.unasked == 1
    assert dataset.name == "set"


def test_documents_without_title_have_an_empty_one(tmp_path: Path) -> None:
    documents = list(load_dataset(write(tmp_path / "set"), "dev").documents())
    assert [(document.id, document.title) for document in documents] == [("d1", "One"), ("d2", "")]


@pytest.mark.parametrize("corpus", ["", "\n \n"])
def test_a_corpus_without_a_document_is_an_error_not_a_figure(tmp_path: Path, corpus: str) -> None:
    with pytest.raises(InputError, match="holds no document"):
        load_dataset(write(tmp_path / "set", corpus=corpus), "dev")


def test_history_is_read_and_put_before_the_question(tmp_path: Path) -> None:
    (question,) = load_dataset(write(tmp_path / "set"), "dev").questions
    assert question.history == (Turn("user", "hello"), Turn("agent", "hi"))
    assert question.with_history() == "hello\nhi\nwhat?"


def test_a_judgement_file_without_header_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text("q1\td1\t2\r\n\nq1\td2\t1\n")
    assert read_judgements(path) == {"q1": {"d1": 2, "d2": 1}}


@pytest.mark.parametrize("row", ["q1\td1", "q1 d1 1", "q1\td1\tmany", "q1\td1\t1\t1"])
def test_a_malformed_judgement_names_its_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(InputError, match="line 2"):
        load_dataset(write(tmp_path / "set", qrels=f"query-id\tcorpus-id\tscore\n{row}\n"), "dev")


@pytest.mark.parametrize(
    "corpus",
    ["{}\n", "nonsense\n", "[1]\n", '{"_id": "", "text": "x"}\n', '{"_id": "a"}\n', '{"_id": 3, "text": "x"}\n', '{"_id": "a", "text": "x", "title": 1}\n'],
)
def test_a_malformed_document_names_its_line(tmp_path: Path, corpus: str) -> None:
    dataset = load_dataset(write(tmp_path / "set", corpus='{"_id": "ok", "text": ""}\n' + corpus), "dev")
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 2"):
        list(dataset.documents())


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    twice = [{"_id": "d1", "text": "a"}, {"_id": "d1", "text": "b"}]
    with pytest.raises(InputError, match="second time"):
        list(load_dataset(write(tmp_path / "set", corpus=twice), "dev").documents())


@pytest.mark.parametrize("history", ['"text"', "[1]", '[{"speaker": "user"}]'])
def test_a_malformed_history_is_an_error(tmp_path: Path, history: str) -> None:
    queries = '{"_id": "q1", "text": "x", "metadata": {"history": ' + history + "}}\n"
    with pytest.raises(InputError, match=r"queries\.jsonl, line 1"):
        load_dataset(write(tmp_path / "set", queries=queries), "dev")


def test_an_unknown_split_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset(write(tmp_path / "set"), "test")
    assert "dev" in caught.value.hint


@pytest.mark.parametrize("split", ["../qrels/dev", "", ".."])
def test_a_split_is_a_name_not_a_path(tmp_path: Path, split: str) -> None:
    with pytest.raises(InputError):
        load_dataset(write(tmp_path / "set"), split)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpus\.jsonl"):
        load_dataset(tmp_path, "dev")


def test_the_digest_follows_the_content_of_the_corpus(tmp_path: Path) -> None:
    def digest(dataset: Dataset) -> str:
        return dataset.content_digest()

    one, same = load_dataset(write(tmp_path / "a"), "dev"), load_dataset(write(tmp_path / "b"), "dev")
    other = load_dataset(write(tmp_path / "c", corpus=[*CORPUS, {"_id": "d3", "text": "third"}]), "dev")
    assert digest(one) == digest(same) != digest(other)
