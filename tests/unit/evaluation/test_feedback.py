from __future__ import annotations

from pathlib import Path

import pytest

from src.core.feedback import Feedback
from src.errors import InputError
from src.evaluation.dataset import load_dataset
from src.evaluation.feedback import Written, write_collection


def said(message: str, rating: str, *cited: str) -> Feedback:
    return Feedback("t", message, rating, "", f"question {message}", cited, cited, {}, "2026-11-21T10:00:00Z")  # type: ignore[arg-type] # a word of the test's


def test_an_export_is_a_collection_that_eval_reads(tmp_path: Path) -> None:
    feedback = [said("m1", "up", "a", "b"), said("m2", "down", "a"), said("m3", "up"), said("m4", "up", "tab\there")]
    assert write_collection(tmp_path, feedback) == Written(answers=4, queries=2, judgements=3, left_out=1)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b", "text": "y"}\n')
    dataset = load_dataset(tmp_path, "feedback")
    assert dict(dataset.judgements["m1"]) == {"a": 1, "b": 1}
    assert {question.id: question.text for question in dataset.questions}["m1"] == "question m1"


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_collection(tmp_path / "file" / "below", [])
