"""What a follow-up takes from its conversation, and what is left alone."""

from __future__ import annotations

import pytest

from src.agent.followup import MAX_CARRIED, is_courtesy, leans_on_history, standalone_question
from src.core.chat import Turn


def said(*questions: str) -> list[Turn]:
    return [Turn("", question, "answer", (), False, (), "") for question in questions]


LEAVE = said("How many days of annual leave do new employees get?")


@pytest.mark.parametrize(
    "question",
    [
        "How do I report a power cut?",
        "What is the exit fee of the HomeFixed tariff?",
        "Is it possible to pay the water bill in instalments?",
        "Which form do contractors sign this year?",
        "Wie lese ich meinen Gaszähler ab?",
    ],
)
def test_a_question_that_stands_by_itself_is_untouched(question: str) -> None:
    assert standalone_question(question, LEAVE) == question


@pytest.mark.parametrize(
    "question",
    [
        "Can it be carried over to next year?",
        "What about part-time staff in Ireland?",
        "And after five years of service?",
        "Who approves them for contractors?",
        "Why?",
    ],
)
def test_a_follow_up_gets_the_topic_before_it(question: str) -> None:
    standalone = standalone_question(question, LEAVE)
    assert standalone.startswith(question)
    assert "annual leave" in standalone


def test_the_topic_reaches_back_to_the_last_question_that_stood_by_itself() -> None:
    turns = said("How do I report a power cut?", "How many days of annual leave do new employees get?", "And who approves it?")
    standalone = standalone_question("How far ahead?", turns)
    assert "leave" in standalone
    assert "approves" in standalone
    assert "power" not in standalone


def test_words_that_the_question_has_are_not_repeated() -> None:
    assert standalone_question("And how much annual leave do they carry over?", LEAVE).lower().count("leave") == 1


def test_without_a_conversation_nothing_is_added() -> None:
    assert standalone_question("And it?", []) == "And it?"
    assert leans_on_history("And it?")


def test_what_is_carried_is_bounded() -> None:
    long = said(" ".join(f"word{n}" for n in range(100)))
    assert len(standalone_question("And it?", long).split()) == MAX_CARRIED + 2


@pytest.mark.parametrize("message", ["Thanks", "thank you very much!", "Hello", "ok", "Good morning", "Vielen Dank", "👍", "No.", "Great, that was all"])
def test_thanks_and_greetings_are_no_questions(message: str) -> None:
    assert is_courtesy(message)


@pytest.mark.parametrize("message", ["Why?", "And it?", "Tell me more", "leave", "Thanks, and the gloves?", "ok?", "hello world", "有給休暇", "is it good"])
def test_whatever_asks_is_no_courtesy(message: str) -> None:
    assert not is_courtesy(message)
