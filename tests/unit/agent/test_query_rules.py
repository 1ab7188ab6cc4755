"""Questions before retrieval: parts, words that stand for nothing, and what a model's plan may say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.agent.query.plan import MOST_LONGER, Plan, read_plan
from src.agent.query.rules import may_be_compound, standing_parts, unclear_word
from src.core.chat import Turn
from src.infra.providers.forms import parts_of


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How many vacation days do I get, and who approves them?", ("How many vacation days do I get", "who approves them?")),
        ("How do I read the gas meter? What does a visit cost?", ("How do I read the gas meter?", "What does a visit cost?")),
        ("Wie viele Tage Urlaub habe ich und wer genehmigt sie?", ("Wie viele Tage Urlaub habe ich", "wer genehmigt sie?")),
        ("Is it allowed to work abroad and do I need a permit?", ("Is it allowed to work abroad", "do I need a permit?")),
    ],
)
def test_a_message_that_asks_two_things_has_two_parts(question: str, parts: tuple[str, ...]) -> None:
    assert parts_of(question) == parts
    assert may_be_compound(question)


@pytest.mark.parametrize(
    "question",
    [
        "Who approves leave and when?",
        "What is the difference between how we bill and how we report?",
        "What do I do when it rains and when it snows?",
        "When the moon is full, what do I do?",
        "Hi,\nhow many days of leave do I get?",
        "How many employees and contractors are there?",
    ],
)
def test_a_message_that_asks_one_thing_stays_whole(question: str) -> None:
    assert parts_of(question) == (question,)


WORDS = st.lists(st.sampled_from("how what and is it the many days ? ; , \n leave also when can i".split(" ")), max_size=20).map(" ".join)


@given(WORDS, st.integers(1, 5))
def test_parts_are_bounded_and_lose_no_word(question: str, most: int) -> None:
    parts = standing_parts(question, (), most)
    assert 1 <= len(parts) <= most
    said = {word for part in parts for word in re.findall(r"\w+", part)}
    assert set(re.findall(r"\w+", question)) - said <= {"and", "also"}


def test_a_part_that_leans_on_the_one_before_names_its_topic() -> None:
    parts = standing_parts("How many vacation days do I get, and who approves them?", (), 3)
    assert parts == ("How many vacation days do I get", "who approves them? (vacation days)")


def test_more_parts_than_allowed_stay_together_in_the_last() -> None:
    question = "How do I read the meter? What does a visit cost? Who answers the phone?"
    assert standing_parts(question, (), 2) == ("How do I read the meter?", "What does a visit cost? Who answers the phone?")
    assert standing_parts(question, (), 0) == standing_parts(question, (), 1) == (question,)


@pytest.mark.parametrize(
    ("question", "word"),
    [("Who approves it?", "it"), ("How long does that take?", "that"), ("Is that allowed?", "that"), ("Can I carry them over?", "them"), ("Who is he?", "he")],
)
def test_a_pronoun_without_a_conversation_is_unclear(question: str, word: str) -> None:
    assert unclear_word(question, ()) == word
    assert unclear_word(question, [Turn("", "How many days of leave?", "", (), False, (), "")]) == ""


@pytest.mark.parametrize(
    "question",
    [
        "Is it legal to smoke?",
        "Can an employee keep their laptop?",
        "Is it possible to get a refund?",
        "What does this policy cover?",
        "When was this edict declared?",
        "What happens if I lose it?",
        "Does Northmoor approve it?",
        "Who approves leave?",
    ],
)
def test_a_question_that_can_be_searched_for_is_not_asked_back(question: str) -> None:
    assert unclear_word(question, ()) == ""


def test_questions_of_open_collections_are_not_asked_back(shared_data: Path) -> None:
    """Of 2,211 written to stand alone none; of MT-RAG's last turns, torn from their conversation, four that say nothing by themselves."""
    counts = {}
    for name in ("scifact", "cranfield", "xquad-en", "contoso-hr", "aws-docs-small", "mtrag-un-pooled"):
        lines = (shared_data / name / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        counts[name] = sum(bool(unclear_word(json.loads(line)["text"], ())) for line in lines)
    assert counts.pop("mtrag-un-pooled") <= 4
    assert not any(counts.values()), counts


def test_a_plan_is_read_from_its_lines() -> None:
    reply = "QUESTION: How do sick leave and annual leave differ?\nPART: How many days of sick leave?\n- PART: How many days of annual leave?"
    assert read_plan(reply, "And compared with sick leave?", most=3) == Plan(
        "How do sick leave and annual leave differ?", ("How many days of sick leave?", "How many days of annual leave?")
    )
    assert read_plan("How many days of leave can be carried over?", "And those?", most=3).question == "How many days of leave can be carried over?"


def test_only_words_of_the_question_are_called_unclear() -> None:
    assert read_plan('ASK: "it"', "Who approves it?", most=3) == Plan("", unclear="it")
    assert read_plan("ASK: <img src=//evil>", "Who approves it?", most=3) == Plan("")
    assert read_plan("ASK: item", "Who approves it?", most=3).unclear == ""


@given(st.text(max_size=300) | st.lists(st.sampled_from(["QUESTION: a b", "PART: c", "PART: d", "ASK: who", "x" * 900])).map("\n".join), st.integers(0, 4))
def test_a_plan_is_bounded_whatever_the_model_writes(reply: str, most: int) -> None:
    asked = "who pays"
    plan = read_plan(reply, asked, most=most)
    assert len(plan.parts) <= most
    assert all(len(text) <= MOST_LONGER + 2 * len(asked) for text in (plan.question if not plan.parts else "", *plan.parts))
    assert plan.unclear.casefold() in asked
