"""Which rule a question falls under, and what the rule makes of the request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.search import AnyOf, Range
from src.errors import InvalidSettingsError
from src.retrieval.config import IntentCfg
from src.retrieval.intents import FITS, best_match, compile_rules, plan

PROCEDURE = IntentCfg(examples=("how do I", "what are the steps to"), boosts=("kind=procedure ^0.5",))
PASSWORD = IntentCfg(examples=("How do I reset my password?",), mode="bm25")


def name_of(query: str, **rules: IntentCfg) -> str | None:
    match = best_match(query, compile_rules(list(rules.items())))
    return match.rule.name if match else None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("How do I read my meter?", "procedure"),
        ("how do i", "procedure"),
        ("Please tell me: what are the exact steps to isolate a cable?", "procedure"),
        ("What does a visit cost?", None),
        ("How are bills made? I do not know.", "procedure"),
        ("How the storm desk works, who staffs it at night and during the holidays, and what I should do", None),
        ("", None),
        ("?!", None),
    ],
)
def test_a_phrase_fits_where_its_words_stand_close_together(query: str, expected: str | None) -> None:
    assert name_of(query, procedure=PROCEDURE) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [("How can I reset my password?", "password"), ("I forgot my password, how to reset it?", "password"), ("How do I reset my router?", "procedure")],
)
def test_an_example_is_recognised_in_other_words_but_not_by_grammar_alone(query: str, expected: str) -> None:
    assert name_of(query, procedure=PROCEDURE, password=PASSWORD) == expected


def test_the_longer_example_wins_and_a_pattern_before_any() -> None:
    query = "How do I reset my password?"
    assert name_of(query, procedure=PROCEDURE, password=PASSWORD) == "password"
    assert name_of(query, password=PASSWORD, z=IntentCfg(pattern="PASSWORD", mode="knn")) == "z"


def test_equals_go_by_name_and_what_is_switched_off_by_none() -> None:
    one, two = IntentCfg(pattern="meter", mode="bm25"), IntentCfg(pattern="meters?", mode="knn")
    assert name_of("meters", b=two, a=one) == "a"
    assert name_of("meters", b=two, a=one.model_copy(update={"enabled": False})) == "b"


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_question_and_any_example_can_be_compared(query: str, example: str) -> None:
    cfg = IntentCfg(examples=(example,), mode="bm25")
    try:
        rules = compile_rules([("x", cfg)])
    except InvalidSettingsError:
        return
    match = best_match(query, rules)
    assert match is None or FITS <= match.fit <= 1
    exact = best_match(example, rules)
    assert exact is not None
    assert exact.fit == 1


def test_a_question_of_any_length_is_looked_at_only_so_far() -> None:
    rules = compile_rules([("x", IntentCfg(pattern="needle", examples=("some other needle",), mode="bm25"))])
    assert best_match("hay " * 10_000 + "needle", rules) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("pattern", [r"(\w+\s?)+\?$", r"(a+)+$", r"(a|a)*b", r"^(a?){200}a{200}$"])
def test_no_pattern_can_hold_up_what_else_is_asked(pattern: str) -> None:
    rules = compile_rules([("q", IntentCfg(pattern=pattern, mode="bm25"))])
    assert best_match("a" * 1_999 + "!", rules) is None


def test_a_pattern_is_looked_for_anywhere_in_any_case_and_in_any_text() -> None:
    rules = compile_rules([("code", IntentCfg(pattern=r"\b[A-Z]{2,4}-\d{3,5}\b", mode="bm25"))])
    match = best_match("what does err-1234 mean", rules)
    assert match is not None
    assert match.matched == r"\b[A-Z]{2,4}-\d{3,5}\b"
    assert best_match("\ud800 ERR-1234", rules) is not None
    assert best_match("derror-1234", rules) is None


def test_the_request_outranks_the_rule() -> None:
    cfg = IntentCfg(pattern="tariff", mode="bm25", filters=("year>=2025", "kind=tariff"), boosts=("region=north ^2",))
    match = best_match("which tariff", compile_rules([("tariff", cfg)]))
    free = plan(match, None, ())
    assert (free.mode, free.filters) == ("bm25", (AnyOf("kind", ("tariff",)), Range("year", gte=2025)))
    assert free.intent is not None
    assert (free.intent.mode, free.intent.filters, free.intent.boosts) == ("bm25", ("year>=2025", "kind=tariff"), ("region=north ^2",))
    own = AnyOf("kind", ("notice",))
    asked = plan(match, "hybrid", (own,))
    assert (asked.mode, asked.filters) == ("hybrid", (own, Range("year", gte=2025)))
    assert asked.intent is not None
    assert (asked.intent.mode, asked.intent.filters) == (None, ("year>=2025",))


def test_without_a_rule_the_request_stays_as_it_is() -> None:
    assert plan(best_match("anything", ()), "knn", (AnyOf("a", (1,)),)).intent is None


@pytest.mark.parametrize(
    ("cfg", "key", "said"),
    [
        (IntentCfg(pattern="(", mode="bm25"), "intent:x.pattern", "regular expression"),
        (IntentCfg(pattern="a{99999999999}", mode="bm25"), "intent:x.pattern", "decimal literal invalid"),
        (IntentCfg(pattern=r"\w{1000}{1000}", mode="bm25"), "intent:x.pattern", "exceeds size limit"),
        (IntentCfg(pattern="(?=a)", mode="bm25"), "intent:x.pattern", "look-ahead"),
        (IntentCfg(pattern=r"(a)\1", mode="bm25"), "intent:x.pattern", "backreferences are not supported"),
        (IntentCfg(mode="bm25"), "intent:x", "neither a pattern nor examples"),
        (IntentCfg(pattern="a"), "intent:x", "changes nothing"),
        (IntentCfg(examples=("?!",), mode="bm25"), "intent:x.examples", "no word"),
        (IntentCfg(pattern="a", filters=("a<=",)), "intent:x.filters", "no value"),
        (IntentCfg(pattern="a", boosts=("a=1 ^0",)), "intent:x.boosts", "weight of 0"),
        (IntentCfg(pattern="a", boosts=("a=1 ^11",)), "intent:x.boosts", "weight of 11"),
        (IntentCfg(pattern="a", boosts=("=1",)), "intent:x.boosts", "cannot be read"),
        (IntentCfg(pattern="a", boosts=("content_type=x",)), "intent:x.boosts", "no field of a hit"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_key(cfg: IntentCfg, key: str, said: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        compile_rules([("x", cfg)])
    assert [problem.key for problem in caught.value.problems] == [key]
    assert said in caught.value.problems[0].message
