"""Reports: the fixed JSON keys, tables, significance."""

from __future__ import annotations

from src.evaluation.metrics import parse_metrics
from src.evaluation.report import EvalReport, as_text, markdown_table, paired_difference
from src.evaluation.runner import Outcome, score

JUDGED = {"q1": {"d1": 1}, "q2": {"d2": 1}}
SCORES = score({"q1": Outcome(("d1",), 4.0), "q2": Outcome(("d1", "d2"), 6.0)}, JUDGED, parse_metrics("ndcg@10,recall@100,mrr@10,recall@1"))
REPORT = EvalReport("set", "dev", "hybrid", 10, 2, SCORES, 1.5)


def test_the_json_object_has_the_fixed_keys_and_those_asked_for() -> None:
    assert REPORT.as_json() == {
        "dataset": "set",
        "split": "dev",
        "mode": "hybrid",
        "documents": 10,
        "queries": 2,
        "ndcg@10": 0.81546,
        "recall@100": 1.0,
        "mrr@10": 0.75,
        "recall@1": 0.5,
        "latency_ms": {"p50": 5.0, "p95": 5.9},
        "index_s": 1.5,
    }


def test_a_question_without_an_outcome_counts_as_zero() -> None:
    scores = score({"q1": Outcome(("d1",), 4.0)}, JUDGED, parse_metrics("mrr@10"))
    assert scores.means == {"mrr@10": 0.5}


def test_the_text_names_what_was_measured() -> None:
    assert "set (dev), hybrid: 2 questions" in as_text(REPORT)


def test_tables_are_markdown() -> None:
    assert markdown_table(["set", "ndcg"], [["a", 0.5]]) == "| set | ndcg |\n| --- | --- |\n| a | 0.5000 |"


def test_a_difference_that_every_question_shows_is_significant_and_noise_is_not() -> None:
    better = {str(n): 0.6 for n in range(40)}
    worse = {str(n): 0.5 for n in range(40)}
    mixed = {str(n): 0.5 + (0.1 if n % 2 else -0.1) for n in range(40)}
    assert paired_difference(better, worse)[1] < 0.01
    assert paired_difference(mixed, worse)[1] > 0.5
    assert paired_difference(better, better) == (0.0, 1.0)
