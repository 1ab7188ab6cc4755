from __future__ import annotations

import pytest

from src.infra.telemetry import get_metrics, record_embedding, record_query, record_query_duration
from src.telemetry import metrics
from src.telemetry.metrics_catalogue import Figure


class Kept:
    def __init__(self) -> None:
        self.all: list[tuple[str, float, dict[str, object]]] = []

    def add(self, figure: Figure, value: float, key: metrics.Key) -> None:
        self.all.append((figure.name, value, dict(key)))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setattr(metrics, "_door", metrics._Door())
    metrics.begin(sink := Kept())
    return sink


def test_a_question_given_as_the_mode_is_in_no_label(kept: Kept) -> None:
    record_query("What is wrong with my kidney")
    record_query_duration(5, "What is wrong with my kidney")
    record_query("bm25")
    assert [labels for _, _, labels in kept.all] == [{"mode": "other"}, {"mode": "other"}, {"mode": "bm25"}]


def test_labels_of_own_figures_are_redacted(kept: Kept) -> None:
    get_metrics().count("asked", who="ann@example.com", phone="12", plain="a")
    assert kept.all == [("rag.asked", 1, {"who": "[redacted:email]", "phone": "[redacted:phone]", "plain": "a"})]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "12", None], ids=str)
def test_what_is_no_finite_number_is_left_out_and_said_once(kept: Kept, value: object, caplog: pytest.LogCaptureFixture) -> None:
    own = get_metrics()
    for _ in range(2):
        own.count("a", value)  # type: ignore[arg-type]  # as somebody's code may
        own.gauge("a", value)  # type: ignore[arg-type]  # as somebody's code may
        own.record_latency("a", value)  # type: ignore[arg-type]  # as somebody's code may
        record_embedding(1, value)  # type: ignore[arg-type]  # as somebody's code may
    assert {name for name, *_ in kept.all} == {"rag.embedded_texts"}
    said = [record.__dict__["rag_fields"]["figure"] for record in caplog.records]
    assert said == ["rag.a", "rag.embedding.duration"]


@pytest.mark.parametrize("name", ["a b", "é", "a\nb{} 1", "x" * 300])
def test_a_name_that_is_none_raises_nothing(kept: Kept, name: str, caplog: pytest.LogCaptureFixture) -> None:
    get_metrics().count(name)
    get_metrics().count(name)
    assert kept.all == []
    assert len(caplog.records) == 1
